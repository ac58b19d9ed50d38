"""Crops that show too little: tiny, blurred, under- or overexposed, mostly padding."""

import polars as pl

from trapline.core.issues.rows import issues

TINY, BLURRED, DARK, BRIGHT, PADDED = "tiny", "blurred", "underexposed", "overexposed", "mostly_padding"
LEAST_PX = 48  # of the longer side
MOST_BLUR = 0.6  # fewer than 1% of photos5's and semireal's crops reach it (docs/log.md)
LEAST_LIGHT, MOST_LIGHT = 0.16, 0.85  # of the 95th and the 5th percentile
MOST_PADDING = 0.5  # of the area


def poor(crops: pl.DataFrame) -> list[pl.DataFrame]:
    """ISSUES rows of each kind.

    Args:
        crops: crop_id, width_px, height_px, blur, dark, bright, padding (null: not measured).
    """
    side = pl.max_horizontal("width_px", "height_px")
    return [
        _found(crops, TINY, side < LEAST_PX, pl.format("{} px at its longer side", side), 1 - side / (2 * LEAST_PX)),
        _found(
            crops,
            BLURRED,
            pl.col("blur") > MOST_BLUR,
            pl.format("blur {} of 1, sharp crops have 0.2 to 0.4", pl.col("blur").round(2)),
            pl.col("blur"),
        ),
        _found(
            crops,
            DARK,
            (pl.col("dark") < LEAST_LIGHT) & (pl.col("padding") < 1),
            pl.format("95% of it is darker than {}% of full light", _percent("dark")),
            1 - pl.col("dark") / (2 * LEAST_LIGHT),
        ),
        _found(
            crops,
            BRIGHT,
            pl.col("bright") > MOST_LIGHT,
            pl.format("95% of it is brighter than {}% of full light", _percent("bright")),
            pl.col("bright"),
        ),
        _found(
            crops,
            PADDED,
            pl.col("padding") > MOST_PADDING,
            pl.format("{}% of it is a black border", _percent("padding")),
            pl.col("padding"),
        ),
    ]


def _percent(column: str) -> pl.Expr:
    return (pl.col(column) * 100).round().cast(pl.Int64)


def _found(crops: pl.DataFrame, kind: str, where: pl.Expr, evidence: pl.Expr, score: pl.Expr) -> pl.DataFrame:
    rows = crops.filter(where).select("crop_id", evidence=evidence, score=score)
    return issues(rows["crop_id"], kind, rows["evidence"].to_list(), rows["score"].to_numpy())
