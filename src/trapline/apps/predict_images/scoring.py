"""Pieces of images to rows of scores: calibrated, placed, compared with training."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import polars as pl

from trapline.apps.predict_images.classifier import Classifier
from trapline.apps.predict_images.given import Piece, Place
from trapline.apps.predict_images.training import training_of
from trapline.core import calibration, schemas
from trapline.core.config import PredictConfig
from trapline.core.log import Advance, Log
from trapline.core.new_images import NewImagesConfig
from trapline.core.places import clock
from trapline.engine.local import LOCAL
from trapline.engine.mapping import Engine
from trapline.io import objects
from trapline.io.ledger import Parts, file_digest, fingerprint
from trapline.learn import device as devices
from trapline.learn.deployed import DeployedOnce, arithmetic
from trapline.learn.rows import with_values
from trapline.stages.classify import classify

COLUMNS = (*schemas.DETECTION_SCORES.columns, "unlike", "width_px", "height_px")
TOLD = ("location_id", "sequence_id", "captured_at")


class Scoring:
    """Scores pieces of images, each with a folder of committed parts of its own.

    Args:
        work: The folder of these folders.
        told: file, location_id, sequence_id, captured_at of images, which come before what the source says.
    """

    def __init__(
        self,
        found: Classifier,
        cfg: NewImagesConfig,
        predict_cfg: PredictConfig,
        place: Place,
        work: Path,
        *,
        told: pl.DataFrame | None = None,
        log: Log,
        engine: Engine = LOCAL,
    ):
        self._engine = engine
        self._found, self._cfg, self._batch, self._work, self._told = found, cfg, predict_cfg.batch_size, work, told
        self.placed = 0  # images that `told` names
        device = devices.resolve(predict_cfg.device)
        made_with = {"checkpoint": file_digest(found.path), "arithmetic": str(arithmetic(device, cfg.precision))}
        model = DeployedOnce(found.known, predict_cfg.device, cfg.precision)
        training = training_of(found, model, made_with, self._batch, log) if cfg.compare else None
        self._least = training.threshold if training is not None else None

        self._model = model if training is None else model.compared_with(training.features)
        compared = "" if training is None else fingerprint([training.threshold, training.features.shape])
        self._made_with = {**made_with, "device": device.type, "compared": compared}
        self._read = None
        if place.folder is None:
            stores = objects.Stores(cfg.store())
            stores.open(place.where)  # what it refuses is said before the work begins
            self._read = partial(stores.read, place.where)

    def rows(self, piece: Piece, number: int, advance: Advance) -> pl.DataFrame:
        """DETECTION_SCORES rows, `unlike` and sizes of a piece; an image's together, in their order."""
        n_labels = len(self._found.labels)
        within = _Within(advance)
        found = classify(
            piece.units,
            self._model,
            self._found.crops,
            n_labels=n_labels,
            made_with=self._made_with,
            batch_size=self._batch,
            parts=Parts(self._work / f"{number:06d}"),
            log=within,
            read=self._read,
            threads=self._cfg.num_workers,
            engine=self._engine,
        )
        advance(piece.units.height - within.done)  # what was done before
        boxes = piece.units.select("file", "boxes").explode("boxes").drop_nulls("boxes").unnest("boxes")
        conf = [piece.confs.get(key) for key in boxes.select("file", "detection").iter_rows()]
        boxes = boxes.with_columns(conf=pl.Series(conf, dtype=pl.Float64))
        rows = found.join(boxes, on=["file", "detection"], how="left", maintain_order="left")
        rows = rows.join(piece.places, on="file", how="left", maintain_order="left")
        rows = rows.with_columns(
            captured_at=clock(rows.select(told=pl.coalesce("stated", "captured"))["told"]),
            failure=pl.coalesce("detector_failure", "failure"),
            image_id=pl.lit(None, pl.String),
            unlike=pl.col("distance") > pl.lit(self._least, pl.Float64),
        )
        values = rows["scores"].drop_nulls()
        if len(values):
            rows = with_values(rows, "scores", calibration.apply(self._found.calibration, values.to_numpy()))
        return self._placed(rows).select(COLUMNS)

    def _placed(self, rows: pl.DataFrame) -> pl.DataFrame:
        if self._told is None:
            return rows
        joined = rows.join(self._told, on="file", how="left", suffix="_told", maintain_order="left")
        self.placed += rows.select("file").unique().join(self._told, on="file", how="semi").height
        return joined.with_columns(pl.coalesce(f"{name}_told", name).alias(name) for name in TOLD)


class _Within(Log):
    """What is said of a piece goes unheard, but for how far it is."""

    def __init__(self, advance: Advance):
        super().__init__()
        self._advance, self.done = advance, 0

    @contextmanager
    def progress(self, what: str, total: int, unit: str = "") -> Iterator[Advance]:
        def advance(n: int = 1, info: str = "") -> None:
            self.done += n
            self._advance(n, info)

        yield advance
