"""The crops behind every cell of the confusion matrix, as data for the page: which, where, how sure, some as pictures.

A page must open on a phone, so what it holds is bounded: the most frequent confusions come first, of each the most
confident crops, turn by turn, so that no cell takes all; a cell says how many crops it leaves out.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import polars as pl

from trapline.io.places import Place
from trapline.report.gallery import thumbnail

LISTED = 30_000
"""Crops that are listed by name, over all cells: about 2.5 MB."""
LISTED_PER_CELL = 100
PICTURES = 2_000
"""Most pictures, over all cells."""
PICTURES_PER_CELL = 24
PICTURE_BYTES = 7_000_000
"""All pictures together, as text in the page."""
PICTURE_PX = 112
QUALITY = 70


class CellCrop(msgspec.Struct, array_like=True):
    """One crop of a cell: its name, its location (a number in `Cells.locations`), score in 0..1, picture or -1."""

    crop_id: str
    location: int
    score: float
    picture: int


class Cells(msgspec.Struct):
    """What the page's script reads.

    Args:
        labels: L names; cells are numbered `true * L + named`.
        locations: Names of the locations that occur.
        pictures: JPEGs in base64.
        crops: Cell -> its listed crops, most confident first.
        counts: Cell -> all its crops, listed or not.
    """

    labels: list[str]
    locations: list[str]
    pictures: list[str]
    crops: dict[str, list[CellCrop]]
    counts: dict[str, int]


def cells(crops: pl.DataFrame, labels: Sequence[str], crops_dir: Path | Place, *, pictures: bool) -> Cells:
    """The crops behind the confusion matrix.

    Args:
        crops: crop_id, location, label, predicted, score of the judged split.
        labels: L names, all that occur in `crops`.
        crops_dir: Where the crops lie: a folder (`crops_dir / crop_id`) or another place.
        pictures: Whether to show any.
    """
    number = pl.DataFrame(
        {"name": list(labels), "number": range(len(labels))}, schema={"name": pl.String, "number": pl.Int64}
    )
    frame = (
        crops.join(number.rename({"name": "label", "number": "true"}), on="label")
        .join(number.rename({"name": "predicted", "number": "named"}), on="predicted")
        .with_columns(cell=pl.col("true") * len(labels) + pl.col("named"), wrong=pl.col("true") != pl.col("named"))
    )
    counted = frame.group_by("cell").agg(n=pl.len())
    place = pl.int_range(pl.len()).over("cell")
    ranked = (
        frame.join(counted, on="cell")
        .sort("score", "crop_id", descending=[True, False])
        .with_columns(turn=place)
        .filter(pl.col("turn") < LISTED_PER_CELL)
        # Mistakes before what was named right; the first crops of every cell before the second ones of any.
        .sort("wrong", "turn", "n", "cell", descending=[True, False, True, False])
        .head(LISTED)
    )
    shown = _pictures(ranked, crops_dir) if pictures else {}
    locations = ranked["location"].unique().sort().to_list()
    index = {location: n for n, location in enumerate(locations)}
    found: dict[str, list[CellCrop]] = {}
    columns = ("cell", "crop_id", "location", "score")
    for cell, crop_id, location, score in ranked.sort("cell", "turn").select(columns).iter_rows():
        picture = shown.get(crop_id, (-1, ""))[0]
        crop = CellCrop(crop_id, index[location], round(score, 4), picture)
        found.setdefault(str(cell), []).append(crop)
    jpegs = [text for _, text in sorted(shown.values())]
    counts = {str(cell): n for cell, n in counted.sort("cell").rows()}
    return Cells(list(labels), locations, jpegs, found, counts)


def _pictures(ranked: pl.DataFrame, crops_dir: Path | Place) -> dict[str, tuple[int, str]]:
    """crop_id -> (number, JPEG in base64) of as many crops as the page may hold, in turn."""
    wanted = ranked.filter(pl.col("turn") < PICTURES_PER_CELL).head(PICTURES)["crop_id"].to_list()
    found: dict[str, tuple[int, str]] = {}
    held = 0
    with ThreadPoolExecutor() as pool:  # decoding releases the GIL
        small = pool.map(lambda crop_id: thumbnail(crops_dir, crop_id, PICTURE_PX, QUALITY), wanted)
        for crop_id, picture in zip(wanted, small, strict=True):
            if picture is None:
                continue
            held += len(picture.base64)
            if held > PICTURE_BYTES:
                break
            found[crop_id] = (len(found), picture.base64)
    return found


def as_script(data: msgspec.Struct) -> str:
    """JSON that may stand inside a script element: no name in it can end the element or begin a comment."""
    return msgspec.json.encode(data).decode().replace("<", "\\u003c")
