"""Writing MegaDetector results JSON 1.6, which Timelapse and MegaDetector's own tools read."""

from pathlib import Path

import msgspec
import polars as pl

from trapline.core.box_columns import SIDES, in_fractions
from trapline.core.pairing import kind_of
from trapline.core.places import stamps
from trapline.io import atomic

VERSION = "1.6"
CATEGORIES = {"1": "animal", "2": "person", "3": "vehicle"}
HUMAN = "human"


def write(
    path: Path,
    images: pl.DataFrame,
    locations: pl.DataFrame,
    boxes: pl.DataFrame,
    labels: pl.DataFrame,
    *,
    empty_labels: tuple[str, ...] = ("empty",),
) -> tuple[str, ...]:
    """Write IMAGES, BOXES and LABELS rows: a detection per box, its label as its classification.

    An image that somebody called empty has an empty list of detections, and so has one that nobody labelled, which
    `unlabelled` tells apart. What a person drew has confidence 1. Beside the format's own fields an image keeps id,
    location, datetime, seq_id, width and height, and a box its id.

    Returns:
        What the file does not hold, a sentence each.
    """
    placed = in_fractions(boxes, images)
    sized = placed.filter(pl.all_horizontal(pl.col(SIDES).is_not_null()))
    named = labels.drop_nulls("box_id").select("box_id", "source_label", label_conf="conf")
    names = sorted(named["source_label"].unique())
    ids = {name: str(number) for number, name in enumerate(names)}
    per_box = named.group_by("box_id", maintain_order=True).agg("source_label", "label_conf")
    rows = sized.join(per_box, on="box_id", how="left", maintain_order="left")
    found: dict[str, list[dict]] = {}
    for row in rows.iter_rows(named=True):
        found.setdefault(row["image_id"], []).append(_detection(row, ids))
    sources = sorted(set(boxes["source"])) or [HUMAN]
    content = {
        "info": {"format_version": VERSION, "detector": sources[0] if len(sources) == 1 else ", ".join(sources)},
        "detection_categories": CATEGORIES,
        "classification_categories": {number: name for name, number in ids.items()},
        "images": [_image(row, found.get(row["id"], [])) for row in _image_rows(images, labels).iter_rows(named=True)],
    }
    data = msgspec.json.format(msgspec.json.encode(content), indent=1)
    atomic.replace(path, lambda stream: stream.write(data))
    empties = [label.casefold() for label in empty_labels]
    whole = labels.filter(
        pl.col("box_id").is_null() & ~pl.col("source_label").str.strip_chars().str.to_lowercase().is_in(empties)
    )
    lost = (
        (placed.height - sized.height, "boxes of images whose size is not known (say where the images are: --images)"),
        (whole.height, "labels of whole images without a box"),
        (images.join(labels, on="image_id", how="anti").height, "images that nobody labelled: they look empty here"),
        (labels["validated"].count(), "labels' validated and validated_by"),
        (locations["latitude"].count(), "coordinates of locations"),
    )
    return tuple(f"{n:,} {what}" for n, what in lost if n)


def _detection(row: dict, ids: dict[str, str]) -> dict:
    scored = zip(row["source_label"] or (), row["label_conf"] or (), strict=True)
    classes = sorted(
        ((1.0 if conf is None else conf, name) for name, conf in scored), key=lambda pair: (-pair[0], pair[1])
    )
    kinds = {kind_of(name) for _, name in classes}
    kind = kinds.pop() if len(kinds) == 1 else "animal"
    detection = {
        "category": next(key for key, name in CATEGORIES.items() if name == kind),
        "conf": 1.0 if row["conf"] is None else row["conf"],
        "bbox": [row[side] for side in SIDES],
        "id": row["box_id"],
    }
    if classes:
        detection["classifications"] = [[ids[name], conf] for conf, name in classes]
    return detection


def _image_rows(images: pl.DataFrame, labels: pl.DataFrame) -> pl.DataFrame:
    bare = ~pl.col("image_id").is_in(labels["image_id"].implode())
    return images.select(
        id="image_id",
        file="file_name",
        location=pl.coalesce("deployment_id", "location_id"),
        datetime=stamps(),
        seq_id="sequence_id",
        width="width_px",
        height="height_px",
        unlabelled=pl.when(bare).then(pl.lit(True)),
    )


def _image(row: dict, detections: list[dict]) -> dict:
    return {name: value for name, value in row.items() if value is not None} | {"detections": detections}
