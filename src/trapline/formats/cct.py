"""COCO Camera Traps JSON: Animl's layouts (until and since September 2023) and LILA's.

Reads what the real producers write and is strict in everything else; errors name the JSON path. External keys stop
here: what leaves is two frames with trapline's column names.
"""

from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
import polars as pl

from trapline.core.errors import InputError
from trapline.formats.annotations import IMAGE_COLUMNS, OBJECT_COLUMNS, Annotations, complete
from trapline.formats.json_file import Pieces

HINT = "trapline reads Animl's and LILA's exports: an object with images, annotations and categories."
UNKNOWN_CATEGORY = "with an unknown category id"
LARGEST_PX = 2**31 - 1
SIZES = ("width_px", "height_px")
NO_BOX = (None, None, None, None)

Id = str | int


class _Image(msgspec.Struct, gc=False):
    id: Id
    file_name: str | None = None
    original_relative_path: str | None = None
    serving_bucket_key: str | None = None
    datetime: str | None = None
    location: Id | None = None
    width: float | None = None
    height: float | None = None
    seq_id: Id | None = None


class _Annotation(msgspec.Struct, gc=False):
    image_id: Id
    category_id: Id
    id: Id | None = None
    bbox: list[float | None] | None = None
    confidence: float | None = None
    validated: bool | None = None
    validated_by: str | None = None
    sequence_level_annotation: bool | None = None


class _Category(msgspec.Struct, gc=False):
    id: Id
    name: str


class _Info(msgspec.Struct):
    date_created: str | None = None


_ARRAYS: dict[str, msgspec.json.Decoder[list[Any]]] = {
    "images": msgspec.json.Decoder(list[_Image]),
    "annotations": msgspec.json.Decoder(list[_Annotation]),
    "categories": msgspec.json.Decoder(list[_Category]),
}
_VALUES: dict[str, msgspec.json.Decoder[Any]] = {"info": msgspec.json.Decoder(_Info | None)}


def read(path: Path) -> Annotations:
    """Read a CCT file, in memory bounded by what it holds, not by its text.

    A file that ends too early gives every record that is whole, and a note; only without its categories it cannot be
    used.

    Raises:
        InputError: It is missing, not JSON, not CCT, or cut before its categories; names the file and the JSON path.
    """
    images: list[pl.DataFrame] = []
    objects: list[pl.DataFrame] = []
    names: dict[str, str] = {}
    found: set[str] = set()
    created = ""
    makes = {"images": _images, "annotations": _objects}
    pieces = Pieces(path, _ARRAYS, _VALUES, "a COCO Camera Traps file", HINT, makes)
    for key, piece in pieces:
        found.add(key)
        if key == "images":
            images.append(piece)
        elif key == "annotations":
            objects.append(piece)
        elif key == "categories":
            names |= {str(category.id): category.name.strip() for category in piece}
        elif key == "info":
            created = (piece.date_created if piece else None) or ""
    annotations = _joined(images, objects, names, created)
    if pieces.cut is not None:
        return _recovered(path, annotations, pieces.cut, found)
    if missing := [key for key in _ARRAYS if key not in found]:
        raise pieces.unexpected(f"Object missing required field `{missing[0]}`")
    return annotations


def _recovered(path: Path, annotations: Annotations, cut: str, found: set[str]) -> Annotations:
    """What a file that ends too early holds, with a note that says so.

    Raises:
        InputError: No image or not all categories are there: without them annotations say nothing.
    """
    n_images, n_objects = annotations.images.height, annotations.objects.height
    whole = f"{n_images:,} whole images and {n_objects:,} whole annotations"
    nameless = annotations.objects.filter(pl.col("problem") == UNKNOWN_CATEGORY).height
    if not n_images:
        raise InputError(
            f"{path} is not valid JSON: it ends too early, in {cut}, before any whole image. Export it again."
        )
    if "categories" not in found or nameless:
        lost = "some categories" if "categories" in found else "its categories"
        raise InputError(
            f"{path} ends too early, in {cut}: it holds {whole}, but {lost} are lost with its end, and category ids "
            "mean nothing without names (they differ from export to export). Export it again in parts: Animl leaves "
            "the end off some exports of more than 18,000 images."
        )
    note = f"the file ends too early, in {cut}; {whole} were recovered, what came after is lost. Export it again."
    return Annotations(annotations.images, annotations.objects, annotations.created, (note,))


def _joined(
    images: list[pl.DataFrame], objects: list[pl.DataFrame], names: dict[str, str], created: str
) -> Annotations:
    """All pieces together: what is computed column by column is quick in one go and slow in hundreds."""
    listed = _listed(pl.concat(images)) if images else complete(pl.DataFrame(), IMAGE_COLUMNS)
    if not objects:
        return Annotations(listed, complete(pl.DataFrame(), OBJECT_COLUMNS), created)
    return Annotations(listed, _labelled(pl.concat(objects), names), created)


def _images(records: list[_Image]) -> pl.DataFrame:
    """A piece of `images` as it stands in the file."""
    return pl.DataFrame(
        {
            "source_id": _texts([r.id for r in records]),
            "path": _texts([r.original_relative_path or r.file_name or "" for r in records]),
            "old": pl.Series([r.original_relative_path is not None for r in records], dtype=pl.Boolean),
            "uri": _texts([r.serving_bucket_key for r in records]),
            "captured": _texts([r.datetime for r in records]),
            "location": _texts([r.location for r in records]),
            "width_px": _numbers([r.width for r in records]),
            "height_px": _numbers([r.height for r in records]),
            "sequence": _texts([r.seq_id for r in records]),
        }
    )


def _listed(frame: pl.DataFrame) -> pl.DataFrame:
    """IMAGE_COLUMNS of `images`."""
    path = pl.col("path").str.replace_all("\\", "/", literal=True)
    # Animl names the camera in the path: <camera>/<file>; since 2023 <project>/<camera>/<deployment>/<file>.
    camera = (
        pl.when("old")
        .then(path.str.extract(r"^([^/]*)/"))
        .when(pl.col("uri").is_not_null())
        .then(path.str.extract(r"^[^/]*/([^/]*)/[^/]*/[^/]*$"))
    )
    sizes = [pl.when(pl.col(name).is_between(1, LARGEST_PX)).then(name).cast(pl.Int64) for name in SIZES]
    frame = frame.with_columns(
        *sizes,
        file_name=path,
        camera=camera,
        location=pl.col("location").replace("", None),
        sequence=pl.col("sequence").replace("", None),
    )
    return complete(frame.with_columns(_one_spelling(frame["file_name"])), IMAGE_COLUMNS)


def _one_spelling(paths: pl.Series) -> pl.Series:
    """Without `./` and doubled slashes, so that one file is one image. `..` stays, to be refused later."""
    odd = paths.str.contains(r"//|(^|/)\.(/|$)|.\/$")
    if not odd.any():
        return paths
    return pl.Series(
        paths.name,
        [str(PurePosixPath(path)) if path and is_odd else path for path, is_odd in zip(paths, odd, strict=True)],
        dtype=pl.String,
    )


def _objects(records: list[_Annotation]) -> pl.DataFrame:
    """A piece of `annotations` as it stands in the file."""
    boxes = [r.bbox if r.bbox is not None and len(r.bbox) == 4 else NO_BOX for r in records]
    sides = pl.Series(list(chain.from_iterable(boxes)), dtype=pl.Float64)
    return pl.DataFrame(
        {
            "source_id": _texts([r.id for r in records]),
            "image": _texts([r.image_id for r in records]),
            "category": _texts([r.category_id for r in records]),
            **{f"box_{side}": sides.gather_every(4, n) for n, side in enumerate("xywh")},
            "conf": _numbers([r.confidence for r in records]),
            "validated": pl.Series([r.validated for r in records], dtype=pl.Boolean),
            "validated_by": _texts([r.validated_by for r in records]),
            "sequence_level": pl.Series([bool(r.sequence_level_annotation) for r in records], dtype=pl.Boolean),
        }
    )


def _labelled(frame: pl.DataFrame, names: dict[str, str]) -> pl.DataFrame:
    """OBJECT_COLUMNS of `annotations`, given the names of categories by their ids."""
    label = pl.col("category").replace_strict(names, default=None, return_dtype=pl.String) if names else pl.lit(None)
    # Four numbers or nothing: Animl writes [null, null, null, null] where the image's size is unknown.
    boxed = pl.all_horizontal(pl.col("^box_.$").is_not_null())
    frame = frame.with_columns(
        pl.when(boxed).then(pl.col("^box_.$")), source_label=label, source_id=pl.col("source_id").replace("", None)
    )
    unknown = pl.when(pl.col("source_label").is_null()).then(pl.lit(UNKNOWN_CATEGORY))
    frame = frame.with_columns(unit=pl.lit("px"), frame=pl.lit("auto"), source=pl.lit("human"), problem=unknown)
    return complete(frame, OBJECT_COLUMNS)


def _texts(values: list[Any]) -> pl.Series:
    """Text; integers as text, since LILA writes some ids and locations as numbers."""
    try:
        return pl.Series(values, dtype=pl.String, strict=True)
    except (TypeError, OverflowError):
        return pl.Series([None if value is None else str(value) for value in values], dtype=pl.String)


def _numbers(values: list[float | None]) -> pl.Series:
    return pl.Series(values, dtype=pl.Float64)
