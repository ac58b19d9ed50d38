"""queried_images.json of the reference chain: `<dataset>/<path>` -> location, labels and boxes of an image."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from trapline.core.box_columns import SIDES, in_fractions
from trapline.core.errors import InputError
from trapline.formats.annotations import IMAGE_COLUMNS, OBJECT_COLUMNS, Annotations, complete
from trapline.formats.json_file import decode
from trapline.io import atomic

Id = str | int
Number = int | float


class _Box(msgspec.Struct):
    bbox: tuple[Number, Number, Number, Number]
    category: str | None = None
    confidence: Number | None = None


class _Image(msgspec.Struct):
    dataset: str
    location: Id | None = None
    class_: str | None = msgspec.field(default=None, name="class")
    bbox: list[_Box] | None = None
    label: list[str] | None = None


IMAGES = ("source_id", "file_name", "location")
OBJECTS = ("image", "source_label", "box_x", "box_y", "box_w", "box_h", "unit", "frame", "source", "box_conf")
EXPECTED = 'a queried_images.json of the old chain: {"<dataset>/<path>": {"dataset", "location", "class", "label"}}'


def datasets(path: Path) -> list[str]:
    """The datasets that the file names, sorted.

    Raises:
        InputError: As `read`.
    """
    return sorted({image.dataset for image in _content(path).values()})


def read(path: Path, dataset: str | None = None) -> Annotations:
    """The images of one dataset (None: of all, with the dataset kept in their path).

    An image's labels belong to each of its boxes; without boxes, to the whole image. A box's confidence is its
    detector's, and a box without one was drawn by a person.

    Raises:
        InputError: It is missing, not JSON, or not of this layout; names the place in it.
    """
    images: list[dict[str, Any]] = []
    objects: list[dict[str, Any]] = []
    unlabelled = 0
    for key, image in _content(path).items():
        if dataset is not None and image.dataset != dataset:
            continue
        name = key.replace("\\", "/")
        name = name.removeprefix(f"{image.dataset}/") if dataset is not None else name
        location = None if image.location is None or image.location == "" else str(image.location)
        images.append({"source_id": name, "file_name": name, "location": location})
        labels = image.label or ([image.class_] if image.class_ else [])
        unlabelled += not labels
        for label in labels or [None]:
            if not image.bbox and label is not None:
                objects.append({"image": name, "source_label": label})
            for box in image.bbox or ():
                x, y, w, h = (float(side) for side in box.bbox)
                conf = None if box.confidence is None else float(box.confidence)
                place = {"box_x": x, "box_y": y, "box_w": w, "box_h": h, "unit": "fraction", "frame": "displayed"}
                objects.append(
                    {
                        "image": name,
                        "source_label": label,
                        **place,
                        "source": "human" if conf is None or conf == 1 else "detector",
                        "box_conf": conf,
                    }
                )
    return Annotations(
        images=complete(pl.DataFrame(images, schema={name: IMAGE_COLUMNS[name] for name in IMAGES}), IMAGE_COLUMNS),
        objects=complete(
            pl.DataFrame(objects, schema={name: OBJECT_COLUMNS[name] for name in OBJECTS}), OBJECT_COLUMNS
        ),
        created="",
        notes=(f"{unlabelled} images have no label.",) if unlabelled else (),
    )


def _content(path: Path) -> Mapping[str, _Image]:
    content = decode(path, dict[str, _Image], EXPECTED)
    if not content:
        raise InputError(f"{path} lists no image.")
    return content


def write(
    path: Path, images: pl.DataFrame, locations: pl.DataFrame, boxes: pl.DataFrame, labels: pl.DataFrame
) -> tuple[str, ...]:
    """Write IMAGES, BOXES and LABELS rows; labels belong to images here, and so do those of their boxes.

    An image whose boxes bear different labels cannot be written, since every box would bear them all.

    Returns:
        What the file does not hold, a sentence each.
    """
    placed = in_fractions(boxes, images)
    sized = placed.filter(pl.all_horizontal(pl.col(SIDES).is_not_null()))
    boxed = labels.join(sized.select("box_id"), on="box_id", how="semi")
    per_box = boxed.group_by("image_id", "box_id").agg(pl.col("source_label").unique().sort())
    per_image = per_box.group_by("image_id").agg(
        kinds=pl.col("source_label").n_unique(), label=pl.col("source_label").first()
    )
    mixed = per_image.filter(pl.col("kinds") > 1)
    whole = labels.filter(pl.col("box_id").is_null()).join(per_image, on="image_id", how="anti")
    of_images = whole.group_by("image_id").agg(label=pl.col("source_label").unique().sort())
    named = pl.concat([per_image.filter(pl.col("kinds") == 1).select("image_id", "label"), of_images])
    lists = (
        sized.join(labels.select("box_id"), on="box_id", how="semi")
        .group_by("image_id", maintain_order=True)
        .agg(box=pl.concat_list(SIDES), conf="conf")
    )
    rows = images.join(named, on="image_id", maintain_order="left").join(
        lists, on="image_id", how="left", maintain_order="left"
    )
    content = {}
    for row in rows.iter_rows(named=True):
        entry = {
            "dataset": row["dataset"],
            "location": row["deployment_id"] or row["location_id"] or "",
            "class": row["label"][0],
            "label": row["label"],
        }
        if row["box"]:
            entry["bbox"] = [
                {"category": "animal", "bbox": box, **({} if conf is None else {"confidence": conf})}
                for box, conf in zip(row["box"], row["conf"], strict=True)
            ]
        content[f"{row['dataset']}/{row['file_name']}"] = entry
    atomic.replace_text(path, msgspec.json.format(msgspec.json.encode(content), indent=1).decode())
    found = (
        (placed.height - sized.height, "boxes of images whose size is not known (say where the images are: --images)"),
        (mixed.height, "images whose boxes bear different labels: labels belong to the image here"),
        (images.height - rows.height - mixed.height, "images without a label"),
        (images["captured_at"].count(), "time stamps"),
        (images["sequence_id"].count(), "images' sequence"),
        (labels["validated"].count(), "labels' validated and validated_by"),
    )
    return tuple(f"{n:,} {what}" for n, what in found if n)
