"""Does the default size and quality of crops lose accuracy? 512 px and quality 92 against full size and quality 100.

    uv run python benchmarks/crop_quality.py [--enlarge 3]

On the semireal frames beside the checkout: both kinds of crops, features of the frozen default model, probes by the
same location-held-out folds. Each crop is scored by the probe that has not seen its place; macro recall is compared
over several draws of the folds, with an interval from resampling locations. No crop of semireal is larger than 512 px,
so that alone tests the encoding; `--enlarge` stores the frames so many times larger first, as a larger sensor would.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image

import trapline
from trapline.core.config import CropConfig, EmbedConfig
from trapline.core.log import Log
from trapline.io import project_file
from trapline.io.ledger import Parts
from trapline.learn import probe
from trapline.stages.embed import embed

DATA = Path(__file__).parents[1] / ".." / "shared" / "data" / "semireal"
KINDS = {"512 px, quality 92": CropConfig(), "full size, quality 100": CropConfig(max_size=0, quality=100)}
FOLDS, DRAWS, RESAMPLES = 5, 3, 4000


def enlarged(target: Path, times: float) -> Path:
    """The frames, so many times larger."""
    for path in sorted((DATA / "images").rglob("*.jpg")):
        found = target / path.relative_to(DATA / "images")
        found.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(path) as image:
            size = (round(image.width * times), round(image.height * times))
            image.resize(size, Image.Resampling.BICUBIC).save(found, quality=90)
    return target


def features_of(images: Path, folder: Path, cfg: CropConfig) -> tuple[pl.DataFrame, np.ndarray, tuple[int, int]]:
    """Examples with a label, their features, and (bytes of the crops, longest side)."""
    trapline.init(folder, [DATA / "export.json"], images, "semireal")
    project_file.set_values(folder / "trapline.yaml", "crop", cfg.model_dump(exclude_unset=True))
    project = trapline.Project(folder)
    project.run(until="dataset")
    crops, examples = project.table("crops"), project.table("examples")
    vectors = embed(crops, EmbedConfig(), crops_dir=folder / "crops", parts=Parts(folder / "embed"), log=Log())
    used = examples.select("crop_id", "group_id", label=pl.col("labels").list.first()).sort("crop_id")
    joined = used.join(vectors, on="crop_id", how="left", maintain_order="left")
    size = sum((folder / "crops" / path).stat().st_size for path in crops["path"].drop_nulls())
    longest = int(crops.select(pl.max_horizontal("width_px", "height_px").max()).item())
    return used, joined["embedding"].to_numpy(), (size, longest)


def scored(used: pl.DataFrame, features: np.ndarray, draw: int) -> np.ndarray:
    """Whether each crop is right, by the probe of the fold that holds out its place."""
    names, labels = np.unique(used["label"], return_inverse=True)
    places, place = np.unique(used["group_id"], return_inverse=True)
    fold = np.random.default_rng(draw).permutation(np.arange(len(places)) % FOLDS)[place]
    right = np.zeros(used.height, bool)
    for held in range(FOLDS):
        train, test = fold != held, fold == held
        weight, bias = probe.fit(features[train], labels[train], np.ones(train.sum()), len(names))
        right[test] = (features[test] @ weight.T + bias).argmax(1) == labels[test]
    return right


def macro_recall(right: np.ndarray, labels: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Macro recall where crop i counts times[..., i] times."""
    each = [
        (times[..., labels == label] * right[labels == label]).sum(-1)
        / np.maximum(times[..., labels == label].sum(-1), 1e-9)
        for label in range(labels.max() + 1)
    ]
    return np.mean(each, axis=0)


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--enlarge", type=float, default=1.0)
    times_larger = parser.parse_args().enlarge
    with tempfile.TemporaryDirectory() as place:
        images = DATA / "images" if times_larger == 1 else enlarged(Path(place) / "frames", times_larger)
        made, used = {}, pl.DataFrame()
        for number, (kind, cfg) in enumerate(KINDS.items()):
            used, features, (size, longest) = features_of(images, Path(place) / str(number), cfg)
            made[kind] = np.array([scored(used, features, draw) for draw in range(DRAWS)])
            print(f"{kind:24} {used.height} crops, {size / 1e6:.1f} MB, longest side {longest} px")
    labels = np.unique(used["label"], return_inverse=True)[1]
    places, of = np.unique(used["group_id"], return_inverse=True)
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(len(places), np.full(len(places), 1 / len(places)), RESAMPLES)[:, of]
    once = np.ones(used.height)
    recall = {kind: np.mean([macro_recall(row, labels, once) for row in right]) for kind, right in made.items()}
    for kind, value in recall.items():
        print(f"{kind:24} macro recall at held-out places {value:.4f} (mean of {DRAWS} draws of {FOLDS} folds)")
    first, second = made.values()
    change = np.mean(
        [macro_recall(a, labels, drawn) - macro_recall(b, labels, drawn) for a, b in zip(first, second, strict=True)], 0
    )
    low, high = np.quantile(change, [0.025, 0.975])
    one, other = recall.values()
    print(f"difference {one - other:+.4f}, 95% interval over {len(places)} locations {low:+.4f} to {high:+.4f}")


if __name__ == "__main__":
    main()
