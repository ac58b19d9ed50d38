"""Examples and crops -> frames that two places share: one camera under two names, or copied images."""

import numpy as np
import polars as pl

from trapline.core import hashing, schemas
from trapline.core.log import Log

NEAR = (
    10  # differing bits of 256: re-encoded copies differ in 0 to 4, frames of one burst in 6 and more (docs/split.md)
)


def twins(examples: pl.DataFrame, crops: pl.DataFrame, *, log: Log) -> pl.DataFrame:
    """Pairs of images of different groups that are nearly identical and nearer to each other than to any other.

    A copy is near to the burst of its original too; only the nearest of these is its twin. Frames of one group never
    count: bursts and static cameras are meant to look alike.

    Args:
        examples, crops: EXAMPLES and CROPS rows.

    Returns:
        image_id, other_image_id (the greater id), group_id, other_group_id, distance; sorted.
    """
    frames = (
        examples.select("crop_id", "image_id", "group_id")
        .join(crops.select("crop_id", "frame_hash"), on="crop_id", how="left")
        .unique("image_id")
        .sort("image_id")
    )
    hashed = frames.drop_nulls("frame_hash")
    if hashed.height < frames.height:
        log.note(f"{frames.height - hashed.height} of {frames.height} images cannot be compared with other places'")
    first, second, distance = hashing.near_pairs(hashed["frame_hash"].to_list(), hashed["group_id"].to_list(), NEAR)
    nearest = np.full(hashed.height, hashing.BITS)
    np.minimum.at(nearest, first, distance)
    np.minimum.at(nearest, second, distance)
    mutual = (distance == nearest[first]) & (distance == nearest[second])
    one, other = hashed[first[mutual]], hashed[second[mutual]]
    return pl.DataFrame(
        {
            "image_id": one["image_id"],
            "other_image_id": other["image_id"],
            "group_id": one["group_id"],
            "other_group_id": other["group_id"],
            "distance": pl.Series(distance[mutual], dtype=pl.Int64),
        }
    )


def leaks(pairs: pl.DataFrame, splits: pl.DataFrame, *, log: Log) -> pl.DataFrame:
    """The twins that stand in two splits.

    Args:
        pairs: From `twins`.
        splits: SPLITS rows.

    Returns:
        LEAKS rows.
    """
    other = splits.select(other_group_id="group_id", other_split="split", other_fold="fold")
    placed = pairs.join(splits, on="group_id", how="left", maintain_order="left")
    placed = placed.join(other, on="other_group_id", how="left", maintain_order="left")
    apart = (pl.col("split") != pl.col("other_split")) | (pl.col("fold") != pl.col("other_fold")).fill_null(False)
    found = placed.filter(apart).select(list(schemas.LEAKS.columns))
    if found.height:
        n_groups = pl.concat([found["group_id"], found["other_group_id"]]).n_unique()
        first = found.row(0, named=True)
        log.warn(
            f"{found.height} pairs of near-identical frames of {n_groups} groups stand in two splits (first: "
            f"{first['image_id']} in {first['split']}, {first['other_image_id']} in {first['other_split']}): one "
            "camera under two names, or copied images. They flatter the accuracy. All are in leaks.csv; "
            "`trapline split --fix` keeps their groups together."
        )
    return found
