"""inspect: what a person should look at before believing a label, a picture or a split."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from trapline.core.copies import MOST_EXACT, copies
from trapline.core.issues import clocks, labels, neighbours, overlaps, pictures, rows, shares
from trapline.core.log import Log
from trapline.core.neighbours import unit
from trapline.engine.local import LOCAL
from trapline.engine.mapping import Work, map_rows
from trapline.io import places, quality
from trapline.io.images import ImageFailure
from trapline.io.ledger import Parts
from trapline.io.places import WAITING_THREADS, Place, Source
from trapline.learn import unseen
from trapline.learn.rows import with_file_state

MEASURES_VERSION = 1
PART_ROWS = 2000
ALIKE = 0.995  # cosine from which two crops of different bursts are taken for copies
MEASURES = {"blur": pl.Float64, "dark": pl.Float64, "bright": pl.Float64, "padding": pl.Float64}
NEAREST = 5  # neighbours of a crop that may be its copies


def measures(
    crops: pl.DataFrame, *, crops_dir: Path | Place, max_pixels: int, workers: int, parts: Parts, log: Log
) -> pl.DataFrame:
    """Blur, light and padding of every crop: crop_id and MEASURES; nulls where the file could not be read."""

    crops_at = places.of(crops_dir)
    table = map_rows(
        partial(_Measuring, crops_at, max_pixels),
        with_file_state(crops.select("crop_id"), crops_dir),
        engine=LOCAL,
        key="crop_id",
        config={"version": MEASURES_VERSION, "max_pixels": max_pixels},
        parts=parts,
        part_rows=PART_ROWS,
        log=log,
        what="crops measured",
        workers=max(workers, WAITING_THREADS) if crops_at.waits else workers,
    )
    unread = table["padding"].null_count()
    log.account("crops", crops.height, "measured", table.height - unread, {"could not be read": unread})
    return table


class _Measuring(Work):
    def __init__(self, crops: Place, max_pixels: int):
        self._crops, self._max_pixels = crops, max_pixels

    def __call__(self, rows: pl.DataFrame) -> pl.DataFrame:
        found = [_measure(self._crops.source(crop_id), self._max_pixels) for crop_id in rows["crop_id"]]
        return self._rows(rows, found)

    def failed(self, rows: pl.DataFrame, reason: str) -> pl.DataFrame:
        return self._rows(rows, [None] * rows.height)

    def _rows(self, rows: pl.DataFrame, found: Sequence[quality.Quality | None]) -> pl.DataFrame:
        columns = {name: [getattr(one, name, None) for one in found] for name in MEASURES}
        return pl.DataFrame({"crop_id": rows["crop_id"], **columns}, schema={"crop_id": pl.String, **MEASURES})


def _measure(path: Source, max_pixels: int) -> quality.Quality | None:
    try:
        return quality.measure(path, max_pixels)
    except ImageFailure:
        return None


def inspect(
    examples: pl.DataFrame,
    crops: pl.DataFrame,
    boxes: pl.DataFrame,
    splits: pl.DataFrame,
    embeddings: pl.DataFrame,
    measured: pl.DataFrame,
    wished: Mapping[str, float],
    *,
    twins: pl.DataFrame | None = None,
    held_out: pl.DataFrame | None = None,
    classes: Sequence[str] = (),
    margin: float = labels.MARGIN,
    now: datetime,
    log: Log,
) -> pl.DataFrame:
    """Everything found, by kind.

    Args:
        examples, crops, boxes, splits, embeddings: Tables; embeddings of any crops, in any order.
        measured: From `measures`.
        wished: Split -> the fraction of crops it was to have.
        twins: Pairs of frames that two places share (stages/leaks.twins). Default: none are known.
        held_out: PREDICTIONS rows of a classifier, of crops that it was not trained on. Default: there is none.
        classes: Its labels, in the order of the scores.
        margin: By how much it prefers another label to the given one, for a crop to be listed; 0 to 1.

    Returns:
        ISSUES rows.
    """
    table = (
        examples.sort("crop_id")
        .join(crops.select("crop_id", "box_id", "width_px", "height_px"), on="crop_id", how="left")
        .join(boxes.select("box_id", "box_x", "box_y", "box_w", "box_h"), on="box_id", how="left")
        .join(splits.select("group_id", "split"), on="group_id", how="left")
        .join(measured, on="crop_id", how="left")
        .join(embeddings.select("crop_id", "embedding"), on="crop_id", how="left")
        .with_columns(
            label=pl.col("labels").list.sort().list.join(" + "),
            place=pl.format("{}/{}", "dataset", "location_id"),
            sequence=pl.format("{}/{}", "dataset", "sequence_id"),
        )
        .sort("crop_id")
    )
    directions = _directions(table)
    found = _by_features(table, directions, log)
    if held_out is not None:
        found.append(_by_classifier(table, held_out, classes, margin, log))
    found += pictures.poor(table)
    if twins is not None:
        found.append(neighbours.copied_frames(table, neighbours.likeliest_twins(table, twins, directions)))
    found.append(overlaps.overlapping(table.drop_nulls(["box_x", "box_w"])))
    stood = table.with_columns(place=pl.coalesce("deployment_id", "camera_id", "group_id"))
    found.append(clocks.impossible(stood, now))
    found.append(shares.dominated(table, "place", shares.PLACE, shares.MOST_OF_PLACE))
    found.append(shares.dominated(table, "sequence", shares.SEQUENCE, shares.MOST_OF_SEQUENCE))
    found.append(shares.extreme_splits(table.filter(pl.col("split").is_not_null()), wished))
    return rows.together(found)


def _by_classifier(
    table: pl.DataFrame, held_out: pl.DataFrame, classes: Sequence[str], margin: float, log: Log
) -> pl.DataFrame:
    """Likely wrong labels by a trained classifier, as the old chain found them."""
    index = {name: k for k, name in enumerate(classes)}
    scored = table.filter(pl.col("labels").list.len() == 1).join(
        held_out.drop_nulls("scores").select("crop_id", "scores"), on="crop_id", maintain_order="left"
    )
    given = np.array([index.get(label, -1) for label in scored["label"]], dtype=np.int64)
    judged = int((given >= 0).sum())
    log.account("crops", table.height, "judged by the classifier", judged, {
        "that it was trained on, or cannot judge": table.height - judged
    })  # fmt: skip
    scores = scored["scores"].to_numpy() if scored.height else np.zeros((0, len(classes)), np.float32)
    return labels.mislabeled_candidates(scored["crop_id"].to_list(), given, scores, classes, margin)


def _directions(table: pl.DataFrame) -> np.ndarray:
    """Unit features of every crop, zeros where there are none, [n, d]."""
    width = table["embedding"].dtype.shape[0]  # type: ignore[attr-defined]
    features = np.zeros((table.height, width), dtype=np.float32)
    features[table["embedding"].is_not_null().to_numpy()] = table["embedding"].drop_nulls().to_numpy()
    return unit(features)


def _by_features(table: pl.DataFrame, directions: np.ndarray, log: Log) -> list[pl.DataFrame]:
    """Likely wrong labels, near-duplicates, outliers."""
    if not table.height or table["embedding"].null_count() == table.height:
        log.note("no crop has features: wrong labels, near-duplicates and outliers were not looked for")
        return []
    features = np.full(directions.shape, np.nan, dtype=np.float32)
    features[table["embedding"].is_not_null().to_numpy()] = table["embedding"].drop_nulls().to_numpy()
    alone = (table["labels"].list.len() == 1).to_numpy()
    names, given = np.unique(table["label"].to_numpy().astype(str), return_inverse=True)
    given = np.where(alone, given, -1)
    ids = table["crop_id"].to_list()
    groups = table["group_id"].to_numpy()
    chances = unseen.probabilities(features, given, groups, len(names))
    judged = int((~np.isnan(chances).any(axis=1)).sum())
    log.account("crops", table.height, "labels judged", judged, {"nothing to judge them by": table.height - judged})
    found = [labels.likely_wrong(ids, given, chances, list(names))]
    _, apart = np.unique(
        table.select(pl.coalesce(pl.format("b {}", "sequence"), pl.format("i {}", "image_id"))).to_series().to_numpy(),
        return_inverse=True,
    )
    try:
        found.append(neighbours.near_duplicates(table, copies(directions, NEAREST, ALIKE, apart), ALIKE))
    except ModuleNotFoundError:
        log.warn(
            f"{table.height:,} crops are more than the {MOST_EXACT:,} that are compared pair by pair, and beyond that "
            "faiss is needed: near-duplicates were not looked for. Install it: pip install 'trapline[large]'"
        )
    return [*found, neighbours.outliers(ids, given, directions, list(names))]
