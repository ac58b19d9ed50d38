"""COCO Camera Traps JSON: Animl's layouts (until and since September 2023) and LILA's.

Reads what the real producers write and is strict in everything else; errors name the JSON path. External keys stop
here: what leaves is two frames with trapline's column names.
"""

import codecs
from pathlib import Path, PurePosixPath

import msgspec
import polars as pl

from trapline.core.errors import InputError
from trapline.formats.annotations import IMAGE_COLUMNS, OBJECT_COLUMNS, Annotations, complete

UNKNOWN_CATEGORY = "with an unknown category id"

LARGEST_PX = 2**31 - 1

Id = str | int
Number = int | float


class _Image(msgspec.Struct):
    id: Id
    file_name: str | None = None
    original_relative_path: str | None = None
    serving_bucket_key: str | None = None
    datetime: str | None = None
    location: Id | None = None
    width: Number | None = None
    height: Number | None = None
    seq_id: Id | None = None


class _Annotation(msgspec.Struct):
    image_id: Id
    category_id: Id
    id: Id | None = None
    bbox: list[Number | None] | None = None
    confidence: Number | None = None
    validated: bool | None = None
    validated_by: str | None = None
    sequence_level_annotation: bool | None = None


class _Category(msgspec.Struct):
    id: Id
    name: str


class _Info(msgspec.Struct):
    date_created: str | None = None


class _File(msgspec.Struct):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category]
    info: _Info | None = None


def read(path: Path) -> Annotations:
    """Read a CCT file.

    Raises:
        InputError: It is missing, not JSON, or not CCT; names the file and the JSON path.
    """
    try:
        data = path.read_bytes().removeprefix(codecs.BOM_UTF8)  # editors on Windows put it there
    except FileNotFoundError:
        raise InputError(f"annotation file {path} does not exist. Check the path after --annotations.") from None
    except OSError as error:
        raise InputError(f"annotation file {path} cannot be read: {error.strerror or error}.") from None
    try:
        content = msgspec.json.decode(data, type=_File)
    except msgspec.ValidationError as error:
        raise InputError(
            f"{path} is not a COCO Camera Traps file: {error}. trapline reads Animl's and LILA's exports: an object "
            "with images, annotations and categories."
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path} is not valid JSON: {error}. Export it again, or check that it is complete.") from None
    names = {str(category.id): category.name.strip() for category in content.categories}
    created = (content.info.date_created if content.info else None) or ""
    return Annotations(_images(content.images), _objects(content.annotations, names), created)


def _images(records: list[_Image]) -> pl.DataFrame:
    def column(name: str, values: list) -> pl.Series:
        return pl.Series(name, values, dtype=IMAGE_COLUMNS[name])

    paths = [(r.original_relative_path or r.file_name or "").replace("\\", "/") for r in records]
    frame = pl.DataFrame(
        [
            column("source_id", [str(r.id) for r in records]),
            column("file_name", [_one_spelling(path) for path in paths]),
            column("uri", [r.serving_bucket_key for r in records]),
            column("captured", [r.datetime for r in records]),
            column("location", [_text(r.location) for r in records]),
            column("camera", [_camera(r, path) for r, path in zip(records, paths, strict=True)]),
            column("width_px", [_size(r.width) for r in records]),
            column("height_px", [_size(r.height) for r in records]),
            column("sequence", [_text(r.seq_id) for r in records]),
        ]
    )
    return complete(frame, IMAGE_COLUMNS)


def _one_spelling(path: str) -> str:
    """Without `./` and doubled slashes, so that one file is one image. `..` stays, to be refused later."""
    return str(PurePosixPath(path)) if path else ""


def _camera(record: _Image, path: str) -> str | None:
    """Animl names the camera in the path: `<camera>/<file>`; since 2023 `<project>/<camera>/<deployment>/<file>`."""
    parts = path.split("/")
    if record.original_relative_path is not None:
        return parts[0] if len(parts) >= 2 else None
    if record.serving_bucket_key is not None and len(parts) == 4:
        return parts[1]
    return None


def _objects(records: list[_Annotation], names: dict[str, str]) -> pl.DataFrame:
    boxes = [_box(record.bbox) for record in records]

    def column(name: str, values: list) -> pl.Series:
        return pl.Series(name, values, dtype=OBJECT_COLUMNS[name], strict=False)

    frame = pl.DataFrame(
        [
            column("source_id", [_text(r.id) for r in records]),
            column("image", [str(r.image_id) for r in records]),
            column("source_label", [names.get(str(r.category_id)) for r in records]),
            *(column(f"box_{side}", [box[n] if box else None for box in boxes]) for n, side in enumerate("xywh")),
            column("conf", [r.confidence for r in records]),
            column("validated", [r.validated for r in records]),
            column("validated_by", [r.validated_by for r in records]),
            column("sequence_level", [bool(r.sequence_level_annotation) for r in records]),
        ]
    )
    unknown = pl.when(pl.col("source_label").is_null()).then(pl.lit(UNKNOWN_CATEGORY))
    frame = frame.with_columns(unit=pl.lit("px"), frame=pl.lit("auto"), source=pl.lit("human"), problem=unknown)
    return complete(frame, OBJECT_COLUMNS)


def _box(values: list[Number | None] | None) -> list[float] | None:
    """Four numbers or nothing: Animl writes [null, null, null, null] where the image's size is unknown."""
    if values is None or len(values) != 4 or any(value is None for value in values):
        return None
    return [float(value) for value in values if value is not None]


def _size(value: Number | None) -> int | None:
    """A width or height; what no image can have is as good as not stated."""
    return int(value) if value is not None and 1 <= value <= LARGEST_PX else None


def _text(value: Id | None) -> str | None:
    """Locations and ids stay strings: LILA writes some of them as integers."""
    return None if value is None or value == "" else str(value)
