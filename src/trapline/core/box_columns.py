"""Whole columns of boxes between fractions and pixels, by the size that their images state.

`geometry.resolve` does this for one box of an image whose header is known, EXIF orientation included; a format that is
converted without its images has nothing but the stated sizes.
"""

import polars as pl

SIDES = ("box_x", "box_y", "box_w", "box_h")


def in_fractions(boxes: pl.DataFrame, images: pl.DataFrame) -> pl.DataFrame:
    """BOXES rows with their sides as fractions of the stated image size; null where that size is not known.

    Args:
        boxes: BOXES rows.
        images: IMAGES rows.

    Returns:
        `boxes` in their order, `unit` fraction.
    """
    return _scaled(boxes, images, "px", lambda side, length: side / length).with_columns(unit=pl.lit("fraction"))


def in_pixels(boxes: pl.DataFrame, images: pl.DataFrame) -> pl.DataFrame:
    """BOXES rows with their sides in pixels of the stated image size; null where that size is needed and not known.

    What began as whole pixels and went through fractions is whole again: sides are rounded to 1e-4 px.
    """
    scaled = _scaled(boxes, images, "fraction", lambda side, length: (side * length).round(4))
    return scaled.with_columns(unit=pl.lit("px"))


def _scaled(boxes: pl.DataFrame, images: pl.DataFrame, unit: str, scale) -> pl.DataFrame:
    sized = boxes.join(
        images.select("image_id", "width_px", "height_px"), on="image_id", how="left", maintain_order="left"
    )
    lengths = ("width_px", "height_px", "width_px", "height_px")
    return sized.with_columns(
        pl.when(pl.col("unit") == unit).then(scale(pl.col(side), pl.col(length))).otherwise(side).alias(side)
        for side, length in zip(SIDES, lengths, strict=True)
    ).drop("width_px", "height_px")
