"""The ONNX file in 8-bit integers, and what that costs: measured on the run's own crops, said, and written into it."""

import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import polars as pl

from trapline.apps.export_model.onnx_file import with_description
from trapline.apps.predict_images.classifier import Classifier
from trapline.apps.predict_images.run_crops import Absent, crops_of
from trapline.apps.serve.answering import Network, open_artifact
from trapline.core import metrics
from trapline.core.errors import InputError
from trapline.core.log import Log
from trapline.core.several import SAID
from trapline.formats.artifact import INPUT, Artifact, Compared, Quantized
from trapline.io import atomic, storage
from trapline.io.images import ImageFailure
from trapline.io.model_input import load_for_evaluation

NAME = "model.int8.onnx"
CALIBRATED_ON, BATCH = 200, 32
COSTLY, UNLIKE = 0.02, 0.95  # macro recall lost, or least share of equal answers, that is said loudly
ROUNDS = 5


def export(found: Classifier, artifact: Artifact, plain: Path, folder: Path, log: Log) -> list[Path]:
    """Write model.int8.onnx.

    Args:
        plain: The ONNX file that is quantised.

    Raises:
        InputError: The run's training crops are not there.
    """
    from trapline.learn.quantized import int8_bytes

    rows = _rows(found)
    train = _spread(rows.filter(pl.col("split") == "train"), CALIBRATED_ON)
    calibrating = [pixels for pixels, _ in _batches(found, train)]
    used = sum(map(len, calibrating))
    if not used:
        raise InputError("int8 takes its ranges from the run's training crops, and none of them can be read.")
    log.note(f"int8: ranges from {used:,} training crops")
    data = int8_bytes(plain.read_bytes(), calibrating, INPUT)
    path = folder / NAME
    _write(path, data, artifact)  # without its figures, to be opened as it will be
    before, after = open_artifact(plain).network, open_artifact(path).network
    compared = []
    for split in ("val", "test"):
        if (figures := _compare(found, rows.filter(pl.col("split") == split), split, before, after)) is not None:
            compared.append(figures)
            say(figures, log)
    if not compared:
        log.warn("what int8 costs is not known: the run has no val or test crops that can be read.")
    _write(path, data, msgspec.structs.replace(artifact, quantized=Quantized("int8", used, tuple(compared))))
    ratio = path.stat().st_size / plain.stat().st_size
    log.note(
        f"int8: {ratio:.0%} of the size, {_speed(calibrating[0], before, after):.1f} times as fast on this machine"
    )
    return [path]


def _rows(found: Classifier) -> pl.DataFrame:
    try:
        return crops_of(found)
    except Absent as absent:
        raise InputError(
            f"int8 takes its ranges from the run's own training crops, and they cannot be had: {absent}. "
            "Export without --quantize, or name a run inside its project."
        ) from None


def _spread(rows: pl.DataFrame, count: int) -> pl.DataFrame:
    """At most `count` rows, as evenly over the labels as there are crops; the same every time."""
    shuffled = rows.sort("crop_id").sample(fraction=1, shuffle=True, seed=0)
    turn = pl.int_range(pl.len()).over(pl.col("labels").list.first())
    return shuffled.with_columns(turn=turn).sort("turn", maintain_order=True).head(count).drop("turn")


def _batches(found: Classifier, rows: pl.DataFrame) -> Iterator[tuple[np.ndarray, list[list[str]]]]:
    """Crops, uint8 [n, size, size, 3], and their labels; those that cannot be read are left out."""
    assert found.project is not None  # else crops_of would have raised
    stored = storage.of_project(found.project).crops
    for part in rows.iter_slices(BATCH):
        pixels, labels = [], []
        for crop_id, names in part.select("crop_id", "labels").iter_rows():
            try:
                pixels.append(load_for_evaluation(stored.source(crop_id), found.known.transform))
            except ImageFailure:
                continue
            labels.append(names)
        if pixels:
            yield np.stack(pixels), labels


def _compare(found: Classifier, rows: pl.DataFrame, split: str, before: Network, after: Network) -> Compared | None:
    answers: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    truth = []
    for pixels, labels in _batches(found, rows):
        answers[0].append(before(pixels))
        answers[1].append(after(pixels))
        truth += [[label in names for label in found.labels] for names in labels]
    if not truth:
        return None
    there = np.array(truth)
    old, new = (np.concatenate(scores) for scores in answers)
    said_old, said_new = (_said(scores, several=found.known.multilabel) for scores in (old, new))
    return Compared(
        split=split,
        crops=len(there),
        macro_recall=_macro_recall(there, said_new),
        macro_recall_before=_macro_recall(there, said_old),
        equal_answers=float((said_old == said_new).all(1).mean()),
        largest_difference=float(np.abs(old - new).max()),
    )


def _said(scores: np.ndarray, *, several: bool) -> np.ndarray:
    """(n, L) whether each label is said to be there."""
    return scores >= SAID if several else np.eye(scores.shape[1], dtype=bool)[scores.argmax(1)]


def _macro_recall(there: np.ndarray, said: np.ndarray) -> float | None:
    support = there.sum(0)
    value = metrics.macro(np.where(support > 0, (there & said).sum(0) / np.maximum(support, 1), np.nan))
    return None if np.isnan(value) else value


def say(figures: Compared, log: Log) -> None:
    """Tell a person; loudly where it is much."""
    old, new = figures.macro_recall_before, figures.macro_recall
    lost = old - new if old is not None and new is not None else 0.0
    recall = f"macro recall {new:.3f} (before: {old:.3f}), " if old is not None and new is not None else ""
    text = (
        f"int8 on {figures.crops:,} {figures.split} crops: {recall}{figures.equal_answers:.1%} of answers equal, "
        f"largest difference of a probability {figures.largest_difference:.3f}"
    )
    if lost > COSTLY or figures.equal_answers < UNLIKE:
        log.warn(f"{text}. THAT IS MUCH: look at those figures before you deploy it, or deploy model.onnx.")
    else:
        log.note(text)


def _write(path: Path, data: bytes, artifact: Artifact) -> None:
    content = with_description(data, artifact)
    atomic.replace(path, lambda stream: stream.write(content))


def _speed(batch: np.ndarray, before: Network, after: Network) -> float:
    """How many times as fast, by turns; the median."""
    ratios = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        before(batch)
        between = time.perf_counter()
        after(batch)
        ratios.append((between - began) / (time.perf_counter() - between))
    return float(np.median(ratios))
