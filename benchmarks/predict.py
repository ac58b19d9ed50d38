"""Predicting new images, decoding included, against a plain loop in the same run; and whether both say the same.

    uv run python benchmarks/predict.py [--images 128] [--rounds 2] [--crops 800]

Frames are the demo's, enlarged to 3 megapixels with a sensor's noise, a box each. The plain loop is what one writes
first: PIL, torchvision's v1 transforms, timm's model in fp32 with contiguous tensors, batches of 32, one process; it is
given as many torch threads as ours. Ours is `predict_images`: the detector's JSON in, JSON out, on disk. Rounds take
turns; the best of each is compared. Weights of resnet18 and efficientnet_b0 are random, and their last layer large: how
sure a classifier is decides how many crops are computed again in fp32.
Agreement is of the default model, fine-tuned on the demo's crops, on crops of it that are shifted and mirrored.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import torch
from PIL import Image
from torchvision import transforms

from trapline.apps.demo import SMALL, draw
from trapline.apps.init import init
from trapline.apps.predict_images import predict_images
from trapline.core import geometry
from trapline.core.config import PredictConfig, TrainConfig
from trapline.core.cores import usable_cores
from trapline.core.log import Log
from trapline.core.new_images import NewImagesConfig
from trapline.learn import checkpoint as checkpoints
from trapline.learn.checkpoint import Checkpoint
from trapline.learn.deployed import Deployed, arithmetic
from trapline.learn.models import build, transform_of
from trapline.learn.transforms import load_for_evaluation

FRAME_PX = (2048, 1536)
AIMS = {"tf_efficientnet_lite0": 2.3, "resnet18": 1.6, "efficientnet_b0": 1.4}
BATCH = 32
MARGIN = 0.05
SURE = 1000.0


def enlarge(source: Path, target: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    with Image.open(source) as image:
        pixels = np.asarray(image.convert("RGB").resize(FRAME_PX, Image.Resampling.BICUBIC), dtype=np.float32)
    noise = random.normal(0, 6, FRAME_PX[::-1]).astype(np.float32)[..., None]
    target.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((pixels + noise).clip(0, 255).astype(np.uint8)).save(target, quality=88, subsampling=2)


def frames_of(project, planted, folder: Path, n: int) -> list[dict]:
    """Enlarged frames with a box each, and a detector's results of them."""
    images = project.table("images").select("image_id", "file_name", "width_px", "height_px")
    boxes = project.table("boxes").join(images, on="image_id").unique("image_id", keep="first").sort("image_id")
    records = []
    for row in boxes.iter_rows(named=True):
        if len(records) == n:
            break
        source = planted.images / row["file_name"]
        name = f"{len(records) % 5}/{len(records)}.jpg"
        try:
            enlarge(source, folder / "frames" / name, len(records))
        except OSError:  # the demo's broken files
            continue
        scale = (row["width_px"], row["height_px"]) * 2 if row["unit"] == "px" else (1,) * 4
        sides = [row[f"box_{side}"] / by for side, by in zip("xywh", scale, strict=True)]
        records.append({"file": name, "detections": [{"category": "1", "conf": 0.9, "bbox": sides}]})
    content = {"info": {"format_version": "1.5"}, "detection_categories": {"1": "animal"}, "images": records}
    (folder / "md.json").write_text(json.dumps(content))
    return records


def plain(known: Checkpoint, folder: Path, records: Sequence[dict]) -> tuple[np.ndarray, float]:
    """Scores of every box, and images per second."""
    model = known.network().to(memory_format=torch.contiguous_format)
    transform = transforms.Compose(
        [
            transforms.Resize(
                (known.transform.image_size,) * 2,
                interpolation=transforms.InterpolationMode(known.transform.interpolation),
            ),
            transforms.ToTensor(),
            transforms.Normalize(known.transform.mean, known.transform.std),
        ]
    )
    begin = time.perf_counter()
    found = []
    with torch.no_grad():
        for start in range(0, len(records), BATCH):
            crops = []
            for record in records[start : start + BATCH]:
                with Image.open(folder / "frames" / record["file"]) as opened:
                    image = opened.convert("RGB")
                box = geometry.ResolvedBox(*record["detections"][0]["bbox"])
                crops.append(transform(image.crop(geometry.crop_window(box, *image.size))))
            found.append(model(torch.stack(crops)).softmax(1).numpy())
    return np.concatenate(found), len(records) / (time.perf_counter() - begin)


def ours(path: Path, folder: Path, records: Sequence[dict], out: Path) -> tuple[np.ndarray, float]:
    begin = time.perf_counter()
    predict_images(
        str(folder / "frames"), [out.with_suffix(".json"), out.with_suffix(".parquet")], NewImagesConfig(compare=False),
        PredictConfig(run=str(path), batch_size=BATCH, device="cpu"), detections=folder / "md.json", log=Log(),
    )  # fmt: skip
    seconds = time.perf_counter() - begin
    return pl.read_parquet(out.with_suffix(".parquet"))["scores"].to_numpy(), len(records) / seconds


def agreement(known: Checkpoint, crops_dir: Path, names: Sequence[str], n: int) -> str:
    """How often the fast arithmetic names the same label as fp32, where that is sure by MARGIN."""
    size = known.transform.image_size
    random = np.random.default_rng(0)
    loaded = [load_for_evaluation(crops_dir / name, known.transform) for name in names]
    pixels = np.empty((n, size, size, 3), np.uint8)
    for k in range(n):
        crop = np.roll(loaded[k % len(loaded)], random.integers(-20, 21, 2), (0, 1))
        pixels[k] = crop[:, ::-1] if k % 2 else crop
    slow, fast = Deployed(known, torch.device("cpu"), precision="fp32"), Deployed(known, torch.device("cpu"))
    a, b = (np.concatenate([model(pixels[k : k + BATCH]) for k in range(0, n, BATCH)]) for model in (slow, fast))
    top = np.sort(a, 1)
    sure = top[:, -1] - top[:, -2] > MARGIN
    same = a.argmax(1) == b.argmax(1)
    return f"{same[sure].mean():.2%} of {sure.sum():,} crops of a margin over {MARGIN} ({same.mean():.2%} of all {n:,})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--crops", type=int, default=800)
    parser.add_argument("--models", nargs="+", default=list(AIMS))
    arguments = parser.parse_args()
    torch.set_num_threads(usable_cores())
    print(f"{usable_cores()} cores, arithmetic {arithmetic(torch.device('cpu')) or 'fp32'}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        planted = draw(folder / "drawn", size=SMALL, seed=0)
        project = init(folder / "p", [planted.annotations], str(planted.images), log=Log())
        project.run(until="split", max_failures=100)
        begin = time.perf_counter()
        project.make("train", {"epochs": 10, "patience": 10, "device": "cpu"}, max_failures=100)
        print(f"fine-tuned {TrainConfig().model} in {time.perf_counter() - begin:.0f} s")
        best = next((folder / "p" / "runs").glob("*/checkpoints/best.pt"))
        tuned = checkpoints.load(best)
        records = frames_of(project, planted, folder, arguments.images)
        print("model                     plain img/s  ours img/s  ratio  aim   same label")
        for model in arguments.models:
            path, known = best, tuned
            if model != tuned.model:
                network = build(model, len(tuned.labels), pretrained=False)
                with torch.no_grad():
                    network.get_classifier().weight.mul_(SURE)  # type: ignore[operator]
                known = Checkpoint(model, tuned.labels, transform_of(network), network.state_dict())
                path = folder / f"{model}.pt"
                checkpoints.save(path, known)
            rates: dict[str, list[float]] = {"plain": [], "ours": []}
            scores = {}
            for number in range(arguments.rounds):
                scores["plain"], rate = plain(known, folder, records)
                rates["plain"].append(rate)
                scores["ours"], rate = ours(path, folder, records, folder / f"{model}-{number}")
                rates["ours"].append(rate)
            slow, fast = max(rates["plain"]), max(rates["ours"])
            same = (scores["plain"].argmax(1) == scores["ours"].argmax(1)).mean()
            aim = AIMS.get(model, 1.0)
            print(f"{model:25} {slow:11.1f} {fast:11.1f} {fast / slow:6.2f} {aim:4.1f}   {same:.1%}", flush=True)
        names = project.table("examples")["crop_id"].to_list()
        print(f"fast and fp32 name the same label for {agreement(tuned, folder / 'p/crops', names, arguments.crops)}")


if __name__ == "__main__":
    main()
