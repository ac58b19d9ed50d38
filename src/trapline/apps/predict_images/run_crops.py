"""The crops that a run learnt from, chose by and was tested on, found in the project that it lies in."""

import polars as pl

from trapline.apps.predict_images.classifier import Classifier
from trapline.core.errors import TraplineError
from trapline.core.folds import folds_of
from trapline.io import tables
from trapline.io.ledger import Records
from trapline.io.runs import made_from


class Absent(Exception):
    """They cannot be had; `str()` says why."""


def crops_of(found: Classifier) -> pl.DataFrame:
    """crop_id, labels and split of every crop of a run, but those held back from its training.

    Raises:
        Absent: The run lies in no project, or what it saw is not known there.
    """
    if found.run_dir is None:
        raise Absent("a checkpoint alone does not hold what it was trained on")
    if found.project is None:
        raise Absent("the run lies in no project")
    record = Records(found.project.records).read("split")
    now = record.outputs.get("splits") if record is not None else None
    if now is None or made_from(found.run_dir).get("splits") != now:
        raise Absent("its project has other splits by now")
    try:
        examples, splits = (tables.read(found.project.table(name)) for name in ("examples", "splits"))
    except TraplineError as error:
        raise Absent(f"{error}".rstrip(".")) from None
    if folds_of(splits):
        raise Absent("its project is cross-validated, and which part the run saw is not kept")
    placed = examples.join(splits.select("group_id", "split"), on="group_id", maintain_order="left")
    return placed.filter((pl.col("split") != "train") | ~pl.col("heldback")).select("crop_id", "labels", "split")
