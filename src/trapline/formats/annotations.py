"""What every annotation reader returns: the images that a file lists and what it says of them, in our column names.

A reader tells what its file tells and nothing more: ids, paths and numbers as given, null where the file is silent.
Merging files, naming places and bursts, and refusing names are `ingest`'s.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from trapline.core import schemas

TEXT, INT, REAL, BOOL = pl.String, pl.Int64, pl.Float64, pl.Boolean

IMAGE_COLUMNS: dict[str, type[pl.DataType]] = {
    "source_id": TEXT,  # unique in its file, and stable from export to export where the source is
    "file_name": TEXT,  # the path that names the image's file, forward slashes
    "uri": TEXT,  # where it lies in the source's store
    "captured": TEXT,  # the time stamp as written
    "location": TEXT,
    "camera": TEXT,
    "deployment": TEXT,  # null: the location is the deployment
    "width_px": INT,  # as stated
    "height_px": INT,
    "sequence": TEXT,
    "latitude": REAL,  # degrees, WGS 84; both or none
    "longitude": REAL,
}
OBJECT_COLUMNS: dict[str, type[pl.DataType]] = {
    "source_id": TEXT,  # null: the source does not name it
    "image": TEXT,  # source_id of its image
    "source_label": TEXT,  # null: a box that nobody has labelled
    "box_x": REAL,  # all four null: it is of the whole image
    "box_y": REAL,
    "box_w": REAL,
    "box_h": REAL,
    "unit": TEXT,  # fraction | px
    "frame": TEXT,  # displayed | raw | auto
    "source": TEXT,  # who drew the box: human, a detector's name, or schemas.READY_CROP
    "box_conf": REAL,  # a detector's confidence of the box; null for a person's
    "conf": REAL,  # a classifier's confidence of the label; null for a person's
    "validated": BOOL,
    "validated_by": TEXT,
    "sequence_level": BOOL,
    "problem": TEXT,  # why the row cannot be used ("with an unknown category id"), else null; counted by ingest
}


@dataclass(frozen=True)
class Annotations:
    """One annotation file.

    Args:
        images: One row per listed image (IMAGE_COLUMNS).
        objects: One row per annotation or detection (OBJECT_COLUMNS). One object with several labels is several rows
            with the same box.
        created: When the file was made, as ISO text, or "". The newest file wins where two list an image.
        notes: What the reader recovered or could not use, each a sentence; shown as warnings.
        detections: Whether the boxes are a detector's. Such a file adds boxes to what people said of an image; it
            never replaces that, however new it is.
    """

    images: pl.DataFrame
    objects: pl.DataFrame
    created: str = ""
    notes: tuple[str, ...] = ()
    detections: bool = False


def as_ready_made(given: Annotations) -> Annotations:
    """The same annotations of pictures that are crops already: each is boxed whole and bears its image's labels."""
    if (given.objects["source"] == schemas.READY_CROP).any():
        return given
    whole = {"box_x": 0.0, "box_y": 0.0, "box_w": 1.0, "box_h": 1.0}
    labels = given.objects.select("image", "source_label", "conf", "validated", "validated_by", "problem").unique(
        maintain_order=True
    )
    objects = labels.with_columns(
        **{side: pl.lit(value) for side, value in whole.items()},
        source_id="image",
        unit=pl.lit("fraction"),
        frame=pl.lit("displayed"),
        source=pl.lit(schemas.READY_CROP),
    )
    return Annotations(given.images, complete(objects, OBJECT_COLUMNS), given.created, given.notes)


def complete(frame: pl.DataFrame, columns: Mapping[str, type[pl.DataType]]) -> pl.DataFrame:
    """The frame with exactly `columns`, cast and in order; those that it lacks are null (`sequence_level`: false)."""
    if not frame.width:
        return pl.DataFrame(schema=columns)
    absent = {name: pl.lit(False) if name == "sequence_level" else pl.lit(None) for name in columns}
    return frame.select(
        (pl.col(name) if name in frame.columns else absent[name]).cast(dtype).alias(name)
        for name, dtype in columns.items()
    )
