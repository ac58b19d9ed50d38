"""From tables of examples to what is to be learned from what."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from trapline.core.config import TrainConfig
from trapline.core.errors import InputError, TraplineError
from trapline.core.log import Log
from trapline.io import places
from trapline.io.places import Place
from trapline.learn.task import Task


@dataclass(frozen=True)
class Lesson:
    """The examples of a training.

    Args:
        labels: All labels of the examples, sorted.
        parts: `train` and `val` rows: crop_id, labels, weight, group_id; by crop_id.
        sizes: Bytes of each row's file.
    """

    labels: list[str]
    parts: Mapping[str, pl.DataFrame]
    sizes: Mapping[str, list[int]]

    def counts(self, part: str) -> dict[str, int]:
        """Label -> crops."""
        return dict(self.parts[part]["labels"].explode().drop_nulls().value_counts().sort("labels").rows())

    def content(self) -> list[object]:
        """Everything of it that decides what is learnt."""
        return [[name, part.drop("group_id").rows(), self.sizes[name]] for name, part in self.parts.items()]

    def task(self, crops_dir: Path | Place, *, multilabel: bool) -> Task:
        """The same as arrays and paths."""
        index = {label: number for number, label in enumerate(self.labels)}
        rows, val, crops = self.parts["train"], self.parts["val"], places.of(crops_dir)
        return Task(
            labels=tuple(self.labels),
            crop_ids=tuple(rows["crop_id"]),
            paths=tuple(crops.source(crop_id) for crop_id in rows["crop_id"]),
            targets=_targets(rows, index, multilabel=multilabel),
            weights=rows["weight"].to_numpy().astype(np.float64),
            val_paths=tuple(crops.source(crop_id) for crop_id in val["crop_id"]),
            val_targets=_targets(val, index, multilabel=multilabel),
            groups=np.unique(rows["group_id"].to_numpy(), return_inverse=True)[1],
        )


def lesson(examples: pl.DataFrame, splits: pl.DataFrame, cfg: TrainConfig, crops_dir: Path | Place, log: Log) -> Lesson:
    """Choose the examples that are trained on and judged by.

    Args:
        examples, splits: EXAMPLES and SPLITS rows.
        crops_dir: Where the crops lie: a folder (`crops_dir / crop_id`) or another place.

    Raises:
        InputError: Nothing to train on, only one label, a label without training crops, or a crop with several labels
            that was not asked for.
        TraplineError: Crops are missing.
    """
    labels, parts = _select(examples, splits, cfg, log)
    return Lesson(labels, parts, {name: _file_sizes(part, crops_dir, name) for name, part in parts.items()})


def _targets(rows: pl.DataFrame, index: Mapping[str, int], *, multilabel: bool) -> np.ndarray:
    """Label indices, int64 [n]; of several labels float32 [n, labels] of 0 and 1."""
    if not multilabel:
        return np.array([index[label[0]] for label in rows["labels"]], dtype=np.int64)
    found = np.zeros((rows.height, len(index)), dtype=np.float32)
    for row, labels in enumerate(rows["labels"]):
        found[row, [index[label] for label in labels]] = 1
    return found


def _select(
    examples: pl.DataFrame, splits: pl.DataFrame, cfg: TrainConfig, log: Log
) -> tuple[list[str], dict[str, pl.DataFrame]]:
    """All labels in sorted order, and the train and val rows (crop_id, labels, weight, group_id), by crop_id."""
    several = examples.filter(pl.col("labels").list.len() != 1)
    if several.height and not cfg.multilabel:
        raise InputError(
            f"{several.height:,} of {examples.height:,} crops have no label or several (first: "
            f"{several['crop_id'][0]}). Leave them out, or learn each label by itself: --multilabel."
        )
    frame = examples.join(splits.select("group_id", "split"), on="group_id", how="left").sort("crop_id")
    columns = ["crop_id", "labels", "weight", "group_id"]
    usable = frame.filter((pl.col("split") == "train") & ~pl.col("heldback"))
    rows = usable.filter(pl.col("weight") > 0).select(columns)
    val = frame.filter(pl.col("split") == "val").select(columns)
    log.account(
        "examples",
        frame.height,
        "training crops",
        rows.height,
        {
            "in val": val.height,
            "in test": frame.filter(pl.col("split") == "test").height,
            "held back": frame.filter((pl.col("split") == "train") & pl.col("heldback")).height,
            "of weight zero": usable.height - rows.height,
            "without a split": frame["split"].null_count(),
        },
    )
    if not rows.height:
        raise InputError(f"none of {examples.height:,} examples is in the train split: there is nothing to train on.")
    labels = sorted(frame["labels"].explode().drop_nulls().unique())
    seen = set(rows["labels"].explode())
    if len(seen) == 1 and not (cfg.multilabel and (rows["labels"].list.len() == 0).any()):
        raise InputError(
            f"all {rows.height:,} training crops are labelled {next(iter(seen))!r}: a classifier needs two labels or "
            "more. Check the label map and the excluded labels."
        )
    _check_learnable([label for label in labels if label not in seen], frame, cfg, log)
    if not val.height:
        log.warn("val is empty: there is no early stopping, and the last epoch counts as the best")
    else:
        held = set(val["labels"].explode())
        absent = [label for label in labels if label in seen and label not in held]
        _warn("early stopping does not see all labels: val has no crops of", absent, log)
    return labels, {"train": rows, "val": val}


def _check_learnable(absent: Sequence[str], frame: pl.DataFrame, cfg: TrainConfig, log: Log) -> None:
    """Say which labels have no training crops; raise, unless that was allowed."""
    if cfg.unlearnable == "keep":
        _warn("cannot be learnt: no training crops of", absent, log)
    elif absent:
        each = frame.select("labels", "group_id").explode("labels").drop_nulls("labels")
        rows = each.group_by("labels").agg(pl.len(), pl.col("group_id").n_unique()).rows()
        found = {label: (crops, places) for label, crops, places in rows}
        raise InputError(
            f"{len(absent)} of {len(found)} labels cannot be learnt, for none of their crops is in train. Split again "
            "(trapline split: its search puts rare labels into train first), leave them out (trapline dataset "
            "--exclude LABEL, or --rare drop), or train without them: trapline train --unlearnable keep.",
            ["{}: {:,} crops at {} places".format(label, *found[label]) for label in absent],
        )


def _warn(what: str, labels: Sequence[str], log: Log) -> None:
    if labels:
        more = f" and {len(labels) - 5} more" if len(labels) > 5 else ""
        log.warn(f"{what} {', '.join(labels[:5])}{more}")


def _file_sizes(rows: pl.DataFrame, crops_dir: Path | Place, split: str) -> list[int]:
    """Bytes of each crop's file; a missing one is an error now, not an hour into training."""
    sizes = places.of(crops_dir).state(rows["crop_id"].to_list())["file_bytes"]
    missing = rows["crop_id"].filter(sizes.is_null())
    if len(missing):
        raise TraplineError(
            f"{len(missing):,} of {rows.height:,} {split} crops are missing in {crops_dir} (first: {missing[0]}). "
            "Make them again with `trapline crop`."
        )
    return sizes.to_list()
