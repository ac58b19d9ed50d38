"""Exact cosine neighbours of every crop, and what they tell: near-duplicates, and crops unlike their label."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from trapline.core.issues.rows import issues

DUPLICATE, OUTLIER = "near_duplicate", "outlier"
BLOCK_BYTES = 256 * 2**20  # of similarities held at a time
MOST_EXACT = 200_000  # crops
OWN_NEIGHBOURS = 5  # of its label, whose mean distance makes an outlier
FAR = 3.5  # robust standard deviations above the label's median distance
LEAST_OF_LABEL = 10  # crops, below which nothing is usual


@dataclass(frozen=True)
class Neighbours:
    """The k nearest of every crop, nearest first.

    Args:
        index: int64 [n, k]; -1 where there is none.
        similarity: Cosine, float32 [n, k]; -inf where there is none.
    """

    index: np.ndarray
    similarity: np.ndarray


def nearest(
    directions: np.ndarray, k: int, *, within: np.ndarray | None = None, apart: np.ndarray | None = None
) -> Neighbours:
    """The k most similar other crops of every crop: all pairs are compared, block by block.

    Args:
        directions: From `unit`, [n, d].
        within: A number per crop: only crops that have the same one are neighbours. Default: all are.
        apart: A number per crop: those that have the same one are no neighbours (frames of a burst, which would crowd
            out all others). Default: every crop has its own.
    """
    apart = np.arange(len(directions)) if apart is None else apart
    n = len(directions)
    index, similarity = np.full((n, k), -1), np.full((n, k), -np.inf, dtype=np.float32)
    usable = directions.any(axis=1)
    parts = [np.flatnonzero(usable)] if within is None else []
    if within is not None:
        parts = [np.flatnonzero(usable & (within == value)) for value in np.unique(within)]
    for part in parts:
        take = min(k, len(part) - 1)
        if take < 1:
            continue
        of_part = directions[part]
        step = max(1, BLOCK_BYTES // (4 * len(part)))
        for begin in range(0, len(part), step):
            rows = part[begin : begin + step]
            alike = directions[rows] @ of_part.T
            alike[apart[rows][:, None] == apart[part][None, :]] = -np.inf
            top = np.argpartition(alike, -take, axis=1)[:, -take:]
            values = np.take_along_axis(alike, top, axis=1)
            order = np.argsort(-values, axis=1, kind="stable")
            similarity[rows, :take] = np.take_along_axis(values, order, axis=1)
            index[rows, :take] = part[np.take_along_axis(top, order, axis=1)]
            index[rows, :take][similarity[rows, :take] == -np.inf] = -1
    return Neighbours(index, similarity)


def near_duplicates(crops: pl.DataFrame, found: Neighbours, least: float) -> pl.DataFrame:
    """ISSUES rows of crops that have a near-identical one elsewhere; frames of one burst never count.

    Args:
        crops: crop_id, image_id, burst (null: of none), split (null: of none), in the order of `found`.
        least: Cosine similarity from which two crops are copies of one another.
    """
    rows, places = np.nonzero(found.similarity >= least)
    others = found.index[rows, places]
    one = crops[rows].select("crop_id", "image_id", "burst", "split")
    other = crops[others].select(pl.all().name.prefix("other_"))
    pairs = pl.concat([one, other], how="horizontal").with_columns(
        alike=pl.Series(found.similarity[rows, places], dtype=pl.Float32)
    )
    pairs = pairs.filter(
        (pl.col("image_id") != pl.col("other_image_id")) & (pl.col("burst") != pl.col("other_burst")).fill_null(True)
    )
    apart = (pl.col("split") != pl.col("other_split")).fill_null(False)
    share = ((pl.col("alike") - least) / max(1 - least, 1e-6)).clip(0, 1)
    pairs = pairs.with_columns(
        score=pl.when(apart).then((1 + share) / 2).otherwise(share / 2),  # across splits it flatters the accuracy
        where=pl.when(apart)
        .then(pl.format("across splits ({} and {})", "split", "other_split"))
        .otherwise(pl.lit("within the split")),
    )
    evidence = pairs.select(
        pl.format("nearly the same as {} (similarity {}), {}", "other_crop_id", pl.col("alike").round(4), "where")
    ).to_series()
    return issues(pairs["crop_id"], DUPLICATE, evidence.to_list(), pairs["score"].to_numpy())


def copied_frames(crops: pl.DataFrame, pairs: pl.DataFrame) -> pl.DataFrame:
    """ISSUES rows of the crops of frames that two places share: copied images, or one camera under two names.

    Args:
        crops: crop_id, image_id, split (null: of none).
        pairs: image_id, other_image_id, distance: as `stages.leaks.twins` finds them, in bits of 256.
    """
    both = pl.concat(
        [
            pairs.select("image_id", "other_image_id", "distance"),
            pairs.select(image_id="other_image_id", other_image_id="image_id", distance="distance"),
        ]
    )
    splits = crops.select(other_image_id="image_id", other_split="split").unique("other_image_id")
    found = crops.select("crop_id", "image_id", "split").join(both, on="image_id").join(splits, on="other_image_id")
    apart = (pl.col("split") != pl.col("other_split")).fill_null(False)
    found = found.sort("crop_id", "distance").with_columns(
        evidence=pl.format(
            "its frame is nearly the same as {} at another place ({} of 256 bits differ), {}",
            "other_image_id",
            "distance",
            pl.when(apart)
            .then(pl.format("across splits ({} and {})", "split", "other_split"))
            .otherwise(pl.lit("within the split")),
        ),
        score=pl.when(apart).then(1.0).otherwise(0.5) - pl.col("distance") / 256,
    )
    return issues(found["crop_id"], DUPLICATE, found["evidence"].to_list(), found["score"].to_numpy())


def outliers(crop_ids: Sequence[str], given: np.ndarray, directions: np.ndarray, names: Sequence[str]) -> pl.DataFrame:
    """ISSUES rows of crops that are unlike the other crops of their label.

    Args:
        given: Label index of every crop, [n]; -1 for those without a single label, which are left out.
        directions: From `unit`, [n, d].
    """
    own = nearest(np.where((given >= 0)[:, None], directions, 0), OWN_NEIGHBOURS, within=given)
    distance = 1 - np.where(np.isfinite(own.similarity), own.similarity, np.nan)
    listed, evidence, scores = [], [], []
    for label in np.unique(given[given >= 0]):
        rows = np.flatnonzero((given == label) & np.isfinite(distance).all(axis=1))
        if len(rows) < LEAST_OF_LABEL:
            continue
        mean = distance[rows].mean(axis=1)
        usual = float(np.median(mean))
        spread = max(1.4826 * float(np.median(np.abs(mean - usual))), 1e-6)
        far = (mean - usual) / spread
        for k in np.flatnonzero(far > FAR):
            listed.append(crop_ids[rows[k]])
            what = f"distance {mean[k]:.2f} to its nearest {OWN_NEIGHBOURS}, usual {usual:.2f}"
            evidence.append(f"unlike other {names[label]}: {what}")
            scores.append(1 - FAR / (2 * far[k]))
    return issues(listed, OUTLIER, evidence, scores)
