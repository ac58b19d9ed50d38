"""predict: scores of crops by a checkpoint, through the one inference loop."""

from functools import cache
from pathlib import Path

import polars as pl

from trapline.core.config import PredictConfig
from trapline.core.log import Log
from trapline.core.schemas import PREDICTIONS
from trapline.core.versions import VERSIONS
from trapline.engine.local import map_rows
from trapline.io import places
from trapline.io.ledger import Parts, file_digest
from trapline.io.places import Place
from trapline.learn import checkpoint as checkpoints
from trapline.learn import device as devices
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
    device = devices.resolve(cfg.device)
    network = cache(lambda: known.network().to(device))  # built only if there is something to do
    scores_type = pl.Array(pl.Float32, len(known.labels))

    def score(rows: pl.DataFrame) -> pl.DataFrame:
        if not rows.height:
            return PREDICTIONS.empty().cast({"scores": scores_type})
        crops_at = places.of(crops_dir)
        paths = [crops_at.source(crop_id) for crop_id in rows["crop_id"]]
        found, failures = infer(
            network(),
            known.transform,
            paths,
            "scores",
            batch_size=cfg.batch_size,
            device=device,
            multilabel=known.multilabel,
        )
        return pl.DataFrame(
            {
                "crop_id": rows["crop_id"],
                "scores": as_arrays(found, len(known.labels)),
                "failure": pl.Series(failures, dtype=pl.String),
            }
        )

    rows = with_file_state(crop_ids.select("crop_id"), crops_dir)
    config = {"version": VERSIONS["predict"], "checkpoint": file_digest(checkpoint.path if other else checkpoint)}
    if other:  # a checkpoint says these itself
        config |= {"transform": known.transform.as_dict(), "probabilities": checkpoint.probabilities}
    table = map_rows(
        score, rows, key="crop_id", config=config, parts=parts, part_rows=PART_ROWS, log=log, what="crops scored"
    )
    failed = table["failure"].count()
    log.account("crops", crop_ids.height, "predictions", table.height - failed, {"could not be read": failed})
    return PREDICTIONS.check(table)
