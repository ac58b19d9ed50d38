"""Boxes of one image that cover nearly the same and have different labels."""

import polars as pl

from trapline.core.issues.rows import issues

KIND = "overlapping_boxes"
LEAST = 0.7  # intersection over union; two animals side by side stay below it


def overlapping(crops: pl.DataFrame) -> pl.DataFrame:
    """ISSUES rows of both crops of every such pair.

    Args:
        crops: crop_id, image_id, label, and box_x, box_y, box_w, box_h, all boxes of an image in one unit.
    """
    boxes = crops.filter(pl.len().over("image_id") > 1)
    pairs = boxes.join(boxes, on="image_id", suffix="_other").filter(
        (pl.col("crop_id") != pl.col("crop_id_other")) & (pl.col("label") != pl.col("label_other"))
    )

    def common(at: str, size: str) -> pl.Expr:
        end = pl.min_horizontal(pl.col(at) + pl.col(size), pl.col(f"{at}_other") + pl.col(f"{size}_other"))
        return (end - pl.max_horizontal(at, f"{at}_other")).clip(0, None)

    pairs = pairs.with_columns(both=common("box_x", "box_w") * common("box_y", "box_h"))
    area = pl.col("box_w") * pl.col("box_h") + pl.col("box_w_other") * pl.col("box_h_other")
    pairs = pairs.with_columns(iou=pl.col("both") / (area - pl.col("both"))).filter(pl.col("iou") >= LEAST)
    evidence = pairs.select(
        pl.format(
            "labelled {}, and {}% the same box as {}, labelled {}",
            "label", (pl.col("iou") * 100).round().cast(pl.Int64), "crop_id_other", "label_other",
        )
    ).to_series()  # fmt: skip
    return issues(pairs["crop_id"], KIND, evidence.to_list(), pairs["iou"].to_numpy())
