"""Example crops as small pictures inside the page."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from trapline.io.images import ImageFailure, decode, open_image

THUMBNAIL_PX = 160
QUALITY = 78
MAX_PIXELS = 200_000_000


@dataclass(frozen=True)
class Example:
    """One crop of the gallery.

    Args:
        picture: A data URI; empty where the crop's file cannot be shown.
        score: What the predicted label got, 0 to 1.
    """

    crop_id: str
    label: str
    predicted: str
    score: float
    location: str
    picture: str
    width_px: int
    height_px: int


def choose_wrong(crops: pl.DataFrame, number: int) -> pl.DataFrame:
    """The most confident mistakes, most confident first."""
    wrong = crops.filter(pl.col("label") != pl.col("predicted"))
    return wrong.sort("score", "crop_id", descending=[True, False]).head(number)


def choose_right(crops: pl.DataFrame, number: int, seed: int) -> pl.DataFrame:
    """Crops named right, drawn evenly over labels and locations; sorted by label."""
    right = crops.filter(pl.col("label") == pl.col("predicted")).sort("crop_id")
    drawn = right.sample(fraction=1, shuffle=True, seed=seed) if right.height else right
    place = pl.int_range(pl.len())
    # Turn by turn: first one crop of every label, each of another location where there is one.
    turns = drawn.with_columns(again=place.over("label", "location")).sort("again", maintain_order=True)
    turns = turns.with_columns(turn=place.over("label")).sort("turn", "label")
    return turns.head(number).sort("label", "crop_id").drop("again", "turn")


def show(crops: pl.DataFrame, crops_dir: Path) -> list[Example]:
    """Read the chosen crops' pictures."""
    columns = ("crop_id", "label", "predicted", "score", "location")
    rows = crops.select(columns).iter_rows(named=True)
    return [Example(**row, **_thumbnail(crops_dir / row["crop_id"])) for row in rows]


def _thumbnail(path: Path) -> dict[str, Any]:
    """A JPEG as a data URI, at most THUMBNAIL_PX on its longer side, and its size; no text where there is none."""
    try:
        image, _ = open_image(path, MAX_PIXELS)
        image.draft("RGB", (2 * THUMBNAIL_PX, 2 * THUMBNAIL_PX))
        picture = decode(image)
    except (ImageFailure, OSError, ValueError):
        return {"picture": "", "width_px": THUMBNAIL_PX, "height_px": THUMBNAIL_PX}
    picture.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=QUALITY)
    content = base64.b64encode(buffer.getvalue()).decode()
    return {"picture": f"data:image/jpeg;base64,{content}", "width_px": picture.width, "height_px": picture.height}
