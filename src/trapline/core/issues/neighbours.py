"""What the neighbours of crops tell: near-duplicates, and crops unlike their label."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from trapline.core.issues.rows import issues
from trapline.core.neighbours import Neighbours, nearest_within

DUPLICATE, OUTLIER = "near_duplicate", "outlier"
OWN_NEIGHBOURS = 5  # of its label, whose mean distance makes an outlier
FAR = 3.5  # robust standard deviations above the label's median distance
LEAST_OF_LABEL = 10  # crops, below which nothing is usual
MOST_OF_LABEL = 10_000  # crops that those of a label are compared with


def near_duplicates(crops: pl.DataFrame, found: Neighbours, least: float) -> pl.DataFrame:
    """ISSUES rows of crops that have a near-identical one elsewhere; frames of one burst never count.

    Args:
        crops: crop_id, image_id, sequence (null: of none), split (null: of none), in the order of `found`.
        least: Cosine similarity from which two crops are copies of one another.
    """
    rows, places = np.nonzero(found.similarity >= least)
    others = found.index[rows, places]
    one = crops[rows].select("crop_id", "image_id", "sequence", "split")
    other = crops[others].select(pl.all().name.prefix("other_"))
    pairs = pl.concat([one, other], how="horizontal").with_columns(
        alike=pl.Series(found.similarity[rows, places], dtype=pl.Float32)
    )
    pairs = pairs.filter(
        (pl.col("image_id") != pl.col("other_image_id"))
        & (pl.col("sequence") != pl.col("other_sequence")).fill_null(True)
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


def likeliest_twins(crops: pl.DataFrame, pairs: pl.DataFrame, directions: np.ndarray) -> pl.DataFrame:
    """Of an image's twins of equal distance those whose crops are most alike: the others are of its twin's burst.

    Args:
        crops: image_id, in the order of `directions`.
        pairs: As for `copied_frames`; all pairs of an image are of one distance.
        directions: From core/neighbours.unit, [n, d]; rows of zeros (no features) decide nothing.
    """
    rows = crops.select("image_id").with_row_index("row")
    met = pairs.with_row_index("pair").join(rows, on="image_id")
    met = met.join(rows.select(other_image_id="image_id", other_row="row"), on="other_image_id")
    cosines = (directions[met["row"].to_numpy()] * directions[met["other_row"].to_numpy()]).sum(axis=1)
    alike = met.with_columns(alike=pl.Series(cosines, dtype=pl.Float32)).group_by("pair").agg(pl.col("alike").max())
    told = pairs.with_row_index("pair").join(alike, on="pair", how="left", maintain_order="left")
    told = told.with_columns(pl.col("alike").fill_null(0))
    sides = [told.select("alike", image="image_id"), told.select("alike", image="other_image_id")]
    best = pl.concat(sides).group_by("image").agg(pl.col("alike").max())
    for side in ("image_id", "other_image_id"):
        told = told.join(best.select(pl.col("image").alias(side), best="alike"), on=side, maintain_order="left")
        told = told.filter(pl.col("alike") >= pl.col("best")).drop("best")
    return told.select(pairs.columns)


def outliers(crop_ids: Sequence[str], given: np.ndarray, directions: np.ndarray, names: Sequence[str]) -> pl.DataFrame:
    """ISSUES rows of crops that are unlike the other crops of their label.

    Args:
        given: Label index of every crop, [n]; -1 for those without a single label, which are left out.
        directions: From core/neighbours.unit, [n, d].
    """
    own = nearest_within(directions, OWN_NEIGHBOURS, given, MOST_OF_LABEL)
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
