"""What a run was trained on, for new images to be compared with: found once, in its project, and kept in its folder."""

from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
import polars as pl

from trapline.apps.predict_images.classifier import Classifier
from trapline.apps.predict_images.run_crops import Absent, crops_of
from trapline.core.errors import TraplineError
from trapline.core.log import Log
from trapline.io import atomic, storage, tables
from trapline.io.ledger import Parts, fingerprint
from trapline.learn.deployed import Deployed
from trapline.stages.likeness import Likeness, likeness

FOLDER = "likeness"


class _Kept(msgspec.Struct):
    """likeness.json, written last."""

    made_with: str
    threshold: float


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
            raise Absent("a checkpoint alone does not hold what it was trained on")
        folder = found.run_dir / FOLDER
        made = fingerprint(dict(made_with))
        if (kept := _kept(folder, made)) is not None:
            return kept
        if found.project is None:
            raise Absent("the run lies in no project, and was not compared before")
        crops = crops_of(found)
        train, val = (crops.filter(pl.col("split") == split)["crop_id"] for split in ("train", "val"))
        parts = Parts(folder / "parts")
        result = likeness(
            train, val, model, crops_dir=storage.of_project(found.project).crops, made_with=made_with,
            batch_size=batch_size, parts=parts, log=log,
        )  # fmt: skip
        if result is None:
            raise Absent("its val split has too few crops")
        _keep(folder, made, result)
        return result
    except Absent as absent:
        log.note(f"whether boxes are unlike anything in training is not told: {absent}.")
        return None


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
