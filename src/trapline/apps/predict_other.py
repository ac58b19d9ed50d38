"""Scores of crops by a classifier that trapline did not train, as a CSV that `evaluate --scores` reads."""

import shutil
from pathlib import Path

import numpy as np
import polars as pl

from trapline.core.config import PredictConfig
from trapline.core.errors import InputError
from trapline.core.log import Log
from trapline.formats import score_csv
from trapline.formats.ms_classification import read_label_index
from trapline.io.ledger import Parts, lock
from trapline.io.pictures import pictures
from trapline.io.places import Place


def predict_other(
    classifier: Path,
    label_index: Path,
    out: Path,
    cfg: PredictConfig,
    *,
    crops_dir: Path | Place,
    crop_ids: pl.Series | None = None,
    image_size: int = 224,
    mean: tuple[float, float, float] | None = None,
    std: tuple[float, float, float] | None = None,
    probabilities: bool = False,
    log: Log,
) -> int:
    """Score crops with a TorchScript or ONNX classifier and write `path, <one column per label>`.

    What was scored before an interruption is kept beside `out` and not scored again.

    Args:
        label_index: The classifier's labels, in the order of its outputs (label_index.json, or one per line).
        out: The CSV file; gzipped where its name ends with .gz.
        crops_dir: The folder that crops are named relative to, or another place of crops.
        crop_ids: Which. Default: every picture in the folder and below.
        image_size: Side of the classifier's input, in pixels.
        mean, std: Of each channel, for pixels in 0..1. Default: ImageNet's, as most classifiers of the field have.
        probabilities: The classifier gives probabilities, not logits.

    Returns:
        How many crops could not be read; they are not in the file.

    Raises:
        InputError: A file is missing or of no use, or there are no crops.
    """
    from trapline.learn.others import IMAGENET_MEAN, IMAGENET_STD, OtherClassifier  # torch: a second of import
    from trapline.learn.transforms import Transform
    from trapline.stages.predict import predict

    if isinstance(crops_dir, Path) and not crops_dir.is_dir():
        raise InputError(f"there is no folder {crops_dir}. Name the one that crops lie in: --crops DIR")
    if crop_ids is None:
        assert isinstance(crops_dir, Path), "of another place the crops are named"
        crop_ids = _pictures(crops_dir)
    labels = read_label_index(label_index)
    transform = Transform(image_size, mean or IMAGENET_MEAN, std or IMAGENET_STD, "bicubic")
    other = OtherClassifier(classifier, tuple(labels), transform, probabilities)
    other.network()  # says what does not fit before anything else
    kept = out.with_name(f"{out.name}.parts")
    with lock(kept / "lock"):
        found = predict(
            other, pl.DataFrame({"crop_id": crop_ids}), cfg, crops_dir=crops_dir, parts=Parts(kept), log=log
        )
        scored = found.filter(pl.col("failure").is_null())
        values = scored["scores"].to_numpy() if scored.height else np.zeros((0, len(labels)), np.float32)
        score_csv.write(out, scored["crop_id"], labels, values)
    shutil.rmtree(kept, ignore_errors=True)
    failed = found.filter(pl.col("failure").is_not_null())
    for crop_id, failure in failed.select("crop_id", "failure").head(5).iter_rows():
        log.warn(f"{crop_id}: {failure}")
    return failed.height


def _pictures(folder: Path) -> pl.Series:
    found = sorted(pictures(folder))
    if not found:
        raise InputError(f"there is no picture in {folder} or below it.")
    return pl.Series("crop_id", found, dtype=pl.String)
