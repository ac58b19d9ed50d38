"""predict: scores of crops by a checkpoint, through the one inference loop."""

from functools import cached_property, partial
from pathlib import Path

import polars as pl
from torch import nn

from trapline.core.config import PredictConfig
from trapline.core.log import Log
from trapline.core.schemas import PREDICTIONS
from trapline.core.versions import VERSIONS
from trapline.engine.local import LOCAL
from trapline.engine.mapping import Engine, Work, map_rows
from trapline.io import places
from trapline.io.ledger import Parts, file_digest
from trapline.io.places import Place
from trapline.learn import checkpoint as checkpoints
from trapline.learn import device as devices
from trapline.learn.checkpoint import Checkpoint
from trapline.learn.infer import infer
from trapline.learn.others import OtherClassifier
from trapline.learn.rows import as_arrays, with_file_state

PART_ROWS = 512  # about ten seconds of the default model on two CPU cores


def predict(
    checkpoint: Path | OtherClassifier,
    crop_ids: pl.DataFrame,
    cfg: PredictConfig,
    *,
    crops_dir: Path | Place,
    parts: Parts,
    log: Log,
    engine: Engine = LOCAL,
) -> pl.DataFrame:
    """Score crops with a checkpoint; crops that were scored before are not scored again.

    Args:
        checkpoint: A run's checkpoint; nothing else of the run is needed. Or a classifier that trapline did not
            train.
        crop_ids: One row per crop, with `crop_id` unique; other columns are ignored.
        crops_dir: Where the crops lie: a folder (`crops_dir / crop_id`) or another place.
        parts: Of this checkpoint.

    Returns:
        PREDICTIONS rows in the order of `crop_ids`; `scores` are probabilities in the checkpoint's label
        order (`learn.checkpoint.load(checkpoint).labels`), null where the crop could not be read (see `failure`).

    Raises:
        InputError: Not a checkpoint, or the device is not there.
    """
    other = isinstance(checkpoint, OtherClassifier)
    known = checkpoint if other else checkpoints.load(checkpoint)
    config = {"version": VERSIONS["predict"], "checkpoint": file_digest(checkpoint.path if other else checkpoint)}
    if other:  # a checkpoint says these itself
        config |= {"transform": known.transform.as_dict(), "probabilities": checkpoint.probabilities}
    table = map_rows(
        partial(_Scoring, known, cfg, places.of(crops_dir)),
        with_file_state(crop_ids.select("crop_id"), crops_dir),
        engine=engine,
        key="crop_id",
        config=config,
        parts=parts,
        part_rows=PART_ROWS,
        log=log,
        what="crops scored",
        gpu=cfg.device != "cpu",
    )
    failed = table["failure"].count()
    log.account("crops", crop_ids.height, "predictions", table.height - failed, {"could not be read": failed})
    return PREDICTIONS.check(table)


class _Scoring(Work):
    def __init__(self, known: Checkpoint | OtherClassifier, cfg: PredictConfig, crops: Place):
        self._known, self._cfg, self._crops = known, cfg, crops
        self._device = devices.resolve(cfg.device)

    @cached_property
    def _network(self) -> nn.Module:
        return self._known.network().to(self._device)

    def __call__(self, rows: pl.DataFrame) -> pl.DataFrame:
        if not rows.height:
            return PREDICTIONS.empty().cast({"scores": pl.Array(pl.Float32, len(self._known.labels))})
        found, failures = infer(
            self._network,
            self._known.transform,
            [self._crops.source(crop_id) for crop_id in rows["crop_id"]],
            "scores",
            batch_size=self._cfg.batch_size,
            device=self._device,
            multilabel=self._known.multilabel,
        )
        scores = as_arrays(found, len(self._known.labels))
        failure = pl.Series(failures, dtype=pl.String)
        return pl.DataFrame({"crop_id": rows["crop_id"], "scores": scores, "failure": failure})

    def failed(self, rows: pl.DataFrame, reason: str) -> pl.DataFrame:
        none = pl.lit(None, pl.Array(pl.Float32, len(self._known.labels)))
        return rows.select("crop_id", scores=none, failure=pl.lit(reason))
