"""Writing COCO Camera Traps JSON in Animl's present layout (FORMATS.md)."""

from pathlib import Path

import msgspec
import polars as pl

from trapline.core.box_columns import SIDES, in_pixels
from trapline.core.places import stamps
from trapline.io import atomic

EMPTY = "empty"


class _Image(msgspec.Struct, omit_defaults=True):
    id: str
    file_name: str
    original_relative_path: str | None = None
    serving_bucket_key: str | None = None
    datetime: str | None = None
    location: str | None = None
    width: int | None = None
    height: int | None = None
    seq_id: str | None = None


class _Annotation(msgspec.Struct):
    id: str
    image_id: str
    category_id: int
    sequence_level_annotation: bool
    bbox: list[float | int] | msgspec.UnsetType = msgspec.UNSET
    confidence: float | msgspec.UnsetType | None = msgspec.UNSET
    validated: bool | msgspec.UnsetType = msgspec.UNSET
    validated_by: str | msgspec.UnsetType = msgspec.UNSET


def write(
    path: Path,
    images: pl.DataFrame,
    locations: pl.DataFrame,
    boxes: pl.DataFrame,
    labels: pl.DataFrame,
    *,
    empty_labels: tuple[str, ...] = (EMPTY,),
    created: str,
) -> tuple[str, ...]:
    """Write IMAGES, LOCATIONS, BOXES and LABELS rows, their ids as the source gave them.

    Args:
        empty_labels: Labels of whole images that mean "no animal": written with the full frame as their box, as Animl
            does, where the image's size is known.
        created: The file's own date, ISO text.

    Returns:
        What the file does not hold, a sentence each.
    """
    placed = in_pixels(boxes, images)
    sized = placed.filter(pl.all_horizontal(pl.col(SIDES).is_not_null()))
    named = sized.join(labels.drop("image_id"), on="box_id", maintain_order="left")
    named = named.with_columns(n=pl.int_range(pl.len()).over("box_id")).with_columns(
        id=pl.when(pl.col("n") == 0).then("box_id").otherwise(pl.format("{}:{}", "box_id", "n"))
    )
    empties = [label.casefold() for label in empty_labels]
    whole = (
        labels.filter(pl.col("box_id").is_null())
        .join(images.select("image_id", "width_px", "height_px"), on="image_id", how="left", maintain_order="left")
        .with_columns(n=pl.int_range(pl.len()).over("image_id"))
        .with_columns(id=pl.format("{}:image:{}", "image_id", "n"))
    )
    full = pl.col("source_label").str.to_lowercase().is_in(empties) & pl.col("width_px").is_not_null()
    whole = whole.with_columns(
        box_x=pl.when(full).then(0.0),
        box_y=pl.when(full).then(0.0),
        box_w=pl.when(full).then(pl.col("width_px").cast(pl.Float64)),
        box_h=pl.when(full).then(pl.col("height_px").cast(pl.Float64)),
    )
    columns = ["id", "image_id", "source_label", *SIDES, "sequence_level", "validated", "validated_by"]
    scores = labels["conf"].count() > 0
    rows = pl.concat([named.select(*columns, conf=pl.col("conf_right")), whole.select(*columns, "conf")])
    names = sorted(set(rows["source_label"]) - {EMPTY})
    ids = {name: number for number, name in enumerate((EMPTY, *names))}
    content = {
        "images": [_Image(**row) for row in _image_rows(images).iter_rows(named=True)],
        "annotations": [_annotation(row, ids, scores) for row in rows.iter_rows(named=True)],
        "categories": [{"id": number, "name": name} for name, number in ids.items()],
        "info": {
            "version": "1.0",
            "description": "written by trapline",
            "year": int(created[:4]),
            "date_created": created,
        },
    }
    data = msgspec.json.format(msgspec.json.encode(content), indent=1)
    atomic.replace(path, lambda stream: stream.write(data))
    return _lost(images, locations, boxes, placed.height - sized.height, labels)


def _image_rows(images: pl.DataFrame) -> pl.DataFrame:
    parts = pl.col("file_name").str.split("/")
    # The layout until 2023 is the one that tells a camera by `<camera>/<file>`; today's does by four levels and a key.
    old = pl.col("uri").is_null() & pl.col("camera_id").is_not_null() & (parts.list.first() == pl.col("camera_id"))
    return images.select(
        id="image_id",
        file_name="file_name",
        original_relative_path=pl.when(old).then("file_name"),
        serving_bucket_key="uri",
        datetime=stamps(),
        location=pl.coalesce("deployment_id", "location_id"),
        width="width_px",
        height="height_px",
        seq_id="sequence_id",
    )


def _annotation(row: dict, ids: dict[str, int], scores: bool) -> _Annotation:
    annotation = _Annotation(row["id"], row["image_id"], ids[row["source_label"]], row["sequence_level"])
    if row["box_x"] is not None:
        annotation.bbox = [int(side) if float(side).is_integer() else side for side in (row[name] for name in SIDES)]
    if scores:
        annotation.confidence = row["conf"]
    if row["validated"] is not None:
        annotation.validated = row["validated"]
    if row["validated_by"] is not None:
        annotation.validated_by = row["validated_by"]
    return annotation


def _lost(
    images: pl.DataFrame, locations: pl.DataFrame, boxes: pl.DataFrame, unsized: int, labels: pl.DataFrame
) -> tuple[str, ...]:
    detected = boxes.filter(pl.col("source") != "human").height
    bare = boxes.join(labels, on="box_id", how="anti").height
    renamed = images.filter(
        pl.col("location_id").is_not_null()
        & pl.col("deployment_id").is_not_null()
        & (pl.col("location_id") != pl.col("deployment_id"))
        & pl.col("camera_id").is_null()
    ).height
    found = (
        (unsized, "boxes of images whose size is not known (say where the images are: --images)"),
        (detected, "boxes' detector and its confidence: a CCT box is a person's"),
        (bare, "boxes without a label"),
        (locations["latitude"].count(), "coordinates of locations"),
        (renamed, "images' location beside their deployment: the deployment is written"),
    )
    return tuple(f"{n:,} {what}" for n, what in found if n)
