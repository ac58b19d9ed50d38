"""What a run was trained on, for new images to be compared with: found once, in its project, and kept in its folder."""

from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
import polars as pl

from trapline.apps.predict_images.classifier import Classifier
from trapline.core.errors import TraplineError
from trapline.core.folds import folds_of
from trapline.core.log import Log
from trapline.io import atomic, tables
from trapline.io.layout import Layout
from trapline.io.ledger import Parts, Records, fingerprint
from trapline.io.runs import made_from
from trapline.learn.deployed import Deployed
from trapline.stages.likeness import Likeness, likeness

FOLDER = "likeness"


class _Kept(msgspec.Struct):
    """likeness.json, written last."""

    made_with: str
    threshold: float


class _Absent(Exception):
    """There is nothing to compare with; `str()` says why."""


def training_of(
    found: Classifier,
    model: Callable[[], Deployed],
    made_with: Mapping[str, object],
    batch_size: int,
    log: Log,
) -> Likeness | None:
    """What new boxes are compared with; None (and a note) where that cannot be had.

    Args:
        made_with: What decides the features.
    """
    try:
        if found.run_dir is None:
            raise _Absent("a checkpoint alone does not hold what it was trained on")
        folder = found.run_dir / FOLDER
        made = fingerprint(dict(made_with))
        if (kept := _kept(folder, made)) is not None:
            return kept
        if found.project is None:
            raise _Absent("the run lies in no project, and was not compared before")
        train, val = _crops(found.run_dir, found.project)
        parts = Parts(folder / "parts")
        result = likeness(
            train, val, model, crops_dir=found.project.crops, made_with=made_with, batch_size=batch_size, parts=parts,
            log=log,
        )  # fmt: skip
        if result is None:
            raise _Absent("its val split has too few crops")
        _keep(folder, made, result)
        return result
    except _Absent as absent:
        log.note(f"whether boxes are unlike anything in training is not told: {absent}.")
        return None


def _crops(run_dir: Path, project: Layout) -> tuple[pl.Series, pl.Series]:
    """Ids of the run's training and val crops."""
    record = Records(project.records).read("split")
    now = record.outputs.get("splits") if record is not None else None
    if now is None or made_from(run_dir).get("splits") != now:
        raise _Absent("its project has other splits by now")
    try:
        examples, splits = (tables.read(project.table(name)) for name in ("examples", "splits"))
    except TraplineError as error:
        raise _Absent(f"{error}".rstrip(".")) from None
    if folds_of(splits):
        raise _Absent("its project is cross-validated, and which part the run saw is not kept")
    placed = examples.join(splits.select("group_id", "split"), on="group_id")
    train = placed.filter((pl.col("split") == "train") & ~pl.col("heldback"))
    return train["crop_id"], placed.filter(pl.col("split") == "val")["crop_id"]


def _kept(folder: Path, made: str) -> Likeness | None:
    try:
        told = msgspec.json.decode((folder / "likeness.json").read_bytes(), type=_Kept)
        if told.made_with != made:
            return None
        return Likeness(tables.read(folder / "features.parquet")["features"].to_numpy(), told.threshold)
    except (OSError, msgspec.DecodeError, TraplineError, pl.exceptions.PolarsError):
        return None


def _keep(folder: Path, made: str, result: Likeness) -> None:
    width = result.features.shape[1]
    tables.save(
        folder / "features.parquet",
        pl.DataFrame({"features": pl.Series(result.features, dtype=pl.Array(pl.Float32, width))}),
    )
    content = msgspec.json.encode(_Kept(made, result.threshold))
    atomic.replace(folder / "likeness.json", lambda stream: stream.write(content))
    for part in (folder / "parts").glob("part-*.parquet"):
        part.unlink()
