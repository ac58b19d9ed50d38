"""Example crops as small pictures inside the page."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from trapline.core.paths import unsafe_reason
from trapline.io import places
from trapline.io.images import ImageFailure, decode, open_image
from trapline.io.places import Place

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


@dataclass(frozen=True)
class Thumbnail:
    """A small JPEG in base64, and its size."""

    base64: str
    width_px: int
    height_px: int


def show(crops: pl.DataFrame, crops_dir: Path | Place) -> list[Example]:
    """Read the chosen crops' pictures."""
    columns = ("crop_id", "label", "predicted", "score", "location")
    found = []
    for row in crops.select(columns).iter_rows(named=True):
        small = thumbnail(crops_dir, row["crop_id"], THUMBNAIL_PX, QUALITY)
        picture = f"data:image/jpeg;base64,{small.base64}" if small else ""
        width, height = (small.width_px, small.height_px) if small else (THUMBNAIL_PX, THUMBNAIL_PX)
        found.append(Example(**row, picture=picture, width_px=width, height_px=height))
    return found


def thumbnail(crops_dir: Path | Place, crop_id: str, side_px: int, quality: int) -> Thumbnail | None:
    """A crop's picture at most `side_px` on its longer side; None where it cannot be shown, or lies elsewhere: a table
    from outside must not bring other pictures of this disk into a page."""
    if unsafe_reason(crop_id) is not None:
        return None
    try:
        image, _ = open_image(places.of(crops_dir).source(crop_id), MAX_PIXELS)
        image.draft("RGB", (2 * side_px, 2 * side_px))
        picture = decode(image)
    except (ImageFailure, OSError, ValueError):
        return None
    picture.thumbnail((side_px, side_px))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return Thumbnail(base64.b64encode(buffer.getvalue()).decode(), picture.width, picture.height)
