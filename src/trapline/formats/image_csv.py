"""A CSV of images and labels: `path,label[,location,...]`, one row per image, label or box. Also trapline's own.

trapline's columns hold everything its tables do, so that nothing is lost on the way out and in again; of anybody
else's file the columns are known by the names that the field gives them.
"""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath

import polars as pl

from trapline.core.box_columns import SIDES
from trapline.core.errors import InputError
from trapline.core.places import stamps
from trapline.formats import csv_table
from trapline.formats.annotations import IMAGE_COLUMNS, OBJECT_COLUMNS, Annotations, complete
from trapline.io import tables

PATH = "path"
# Our column -> what others call it, in lower case with spaces and dashes as underscores; the first one there counts.
NAMES: Mapping[str, tuple[str, ...]] = {
    PATH: ("path", "filepath", "file_path", "relative_path", "image_path", "file", "file_name", "filename", "image"),
    "label": ("label", "species", "class", "category", "scientific_name", "scientificname", "common_name"),
    "location": ("location", "location_id", "site", "station", "place", "locationid", "deployment_location"),
    "camera": ("camera", "camera_id", "cameraid"),
    "deployment": ("deployment", "deployment_id", "deploymentid"),
    "sequence": ("sequence", "sequence_id", "seq_id", "burst", "event", "event_id", "eventid"),
    "datetime": ("datetime", "date_time", "timestamp", "captured_at", "datetimeoriginal", "time_stamp"),
    "latitude": ("latitude", "lat"),
    "longitude": ("longitude", "lon", "lng", "long"),
    "width_px": ("width_px", "width", "image_width"),
    "height_px": ("height_px", "height", "image_height"),
    "box_x": ("box_x", "bbox_x", "bboxx"),
    "box_y": ("box_y", "bbox_y", "bboxy"),
    "box_w": ("box_w", "bbox_w", "bbox_width", "bboxwidth"),
    "box_h": ("box_h", "bbox_h", "bbox_height", "bboxheight"),
    "unit": ("unit", "box_unit"),
    "frame": ("frame",),
    "source": ("source",),
    "box_conf": ("box_conf", "detection_conf", "detection_confidence"),
    "conf": ("conf", "confidence", "score", "probability"),
    "validated": ("validated",),
    "validated_by": ("validated_by",),
    "sequence_level": ("sequence_level",),
    "image_id": ("image_id",),
    "box_id": ("box_id",),
    "uri": ("uri",),
}
FRAMES = ("displayed", "raw", "auto")


def header(path: Path) -> list[str]:
    """The columns of a CSV file, as written; none where it cannot be read as one."""
    try:
        return pl.read_csv(path, infer_schema=False, n_rows=0).columns
    except (OSError, pl.exceptions.PolarsError):
        return []


def columns(found: list[str]) -> dict[str, str]:
    """Our column -> the file's, for those that it has."""
    plain = {name.strip().casefold().replace(" ", "_").replace("-", "_"): name for name in reversed(found)}
    return {
        ours: plain[match]
        for ours, names in NAMES.items()
        if (match := next((name for name in names if name in plain), None)) is not None
    }


def read(path: Path) -> Annotations:
    """Read a CSV of images and labels.

    A row without a label lists an image only. Rows of one path are one image: its first row says where and when.
    Paths that are all absolute are taken relative to the folder that they share.

    Raises:
        InputError: It is missing, not CSV, has no column of paths or labels, or has boxes and does not say in which
            unit.
    """
    table = csv_table.read(path)
    names = columns(table.columns)
    missing = [name for name in (PATH, "label") if name not in names]
    if missing:
        raise InputError(
            f"{path} has no column of {'s or of '.join(missing)}s, only {', '.join(table.columns[:12])}. Name them "
            "`path` and `label`; `location`, `datetime`, `camera` and `sequence` are read too."
        )
    rows = table.select(
        pl.col(theirs).str.strip_chars().replace("", None).alias(ours) for ours, theirs in names.items()
    )
    rows = rows.with_columns(path=pl.col("path").str.replace_all("\\", "/", literal=True).str.strip_prefix("./"))
    rows = rows.with_row_index("line", offset=2)
    problems = _problems(rows)
    if problems:
        raise InputError(f"{path} has {len(problems)} line(s) that cannot be used:", problems)
    rows, notes = _relative(rows)
    return Annotations(_images(rows), _objects(rows), notes=(*notes, *_read_as(names)))


def _read_as(names: Mapping[str, str]) -> list[str]:
    renamed = [f"{theirs} as {ours}" for ours, theirs in names.items() if ours != theirs]
    return [f"columns were read by their meaning: {', '.join(renamed)}."] if renamed else []


def _problems(rows: pl.DataFrame) -> list[str]:
    problems = [f"line {line}: no path" for line in rows.filter(pl.col("path").is_null())["line"]]
    there = [side for side in SIDES if side in rows.columns]
    if there and len(there) < len(SIDES):
        problems.append(f"a box needs the four columns {', '.join(SIDES)}; only {', '.join(there)} are there")
    elif there:
        boxed = rows.filter(pl.any_horizontal(pl.col(SIDES).is_not_null()))
        unit = pl.col("unit") if "unit" in rows.columns else pl.lit(None, pl.String)
        bad = boxed.filter(~unit.is_in(["fraction", "px"]).fill_null(False))
        problems += [
            f"line {line}: a box without a unit; add a column `unit` of fraction or px" for line in bad["line"]
        ]
        frame = pl.col("frame") if "frame" in rows.columns else pl.lit(None, pl.String)
        bad = boxed.filter(~frame.fill_null("auto").is_in(FRAMES))
        problems += [f"line {line}: frame is none of {', '.join(FRAMES)}" for line in bad["line"]]
    for name in ("width_px", "height_px", *SIDES, "box_conf", "conf", "latitude", "longitude"):
        if name in rows.columns:
            number = pl.col(name).cast(pl.Float64, strict=False)
            bad = rows.filter(pl.col(name).is_not_null() & ~number.is_finite().fill_null(False))
            problems += [
                f"line {line}: {name} {value!r} is no number" for line, value in bad.select("line", name).rows()
            ]
    return problems


def _relative(rows: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """Absolute paths, if all are, become relative to the folder they share."""
    absolute = rows["path"].str.contains(r"^(/|[A-Za-z]:/)")
    if not rows.height or not absolute.all():
        return rows, []
    folders = [PurePosixPath(path).parent.parts for path in rows["path"].unique()]
    shared = folders[0]
    for parts in folders[1:]:
        n = next(
            (n for n, (a, b) in enumerate(zip(shared, parts, strict=False)) if a != b), min(len(shared), len(parts))
        )
        shared = shared[:n]
    root = str(PurePosixPath(*shared)) if shared else ""
    if root in ("", "/") or PureWindowsPath(root).anchor == root:
        return rows, []
    note = f"all paths are absolute; they were taken relative to the folder they share, {root}"
    return rows.with_columns(path=pl.col("path").str.strip_prefix(root).str.strip_chars_start("/")), [f"{note}."]


def _images(rows: pl.DataFrame) -> pl.DataFrame:
    images = rows.unique("path", keep="first", maintain_order=True)
    images = images.rename({"datetime": "captured"} if "datetime" in images.columns else {})
    key = pl.coalesce("image_id", "path") if "image_id" in images.columns else pl.col("path")
    sizes = {
        name: pl.col(name).cast(pl.Float64).cast(pl.Int64, strict=False)
        for name in ("width_px", "height_px")
        if name in images.columns
    }
    return complete(images.with_columns(source_id=key, file_name="path", **sizes), IMAGE_COLUMNS)


def _objects(rows: pl.DataFrame) -> pl.DataFrame:
    boxed = pl.all_horizontal(pl.col(SIDES).is_not_null()) if SIDES[0] in rows.columns else pl.lit(False)
    objects = rows.filter(pl.col("label").is_not_null() | boxed)
    key = pl.coalesce("image_id", "path") if "image_id" in rows.columns else pl.col("path")

    def told(name: str, default: str) -> pl.Expr:
        return pl.col(name).fill_null(default) if name in rows.columns else pl.lit(default)

    # One spelling of an image's id: that of its first row.
    ids = rows.select("path", image=key).unique("path", keep="first", maintain_order=True)
    objects = objects.join(ids, on="path", how="left", maintain_order="left").with_columns(
        source_label="label",
        source_id=pl.col("box_id") if "box_id" in rows.columns else pl.lit(None, pl.String),
        unit=told("unit", "fraction"),
        frame=told("frame", "auto"),
        source=told("source", "human"),
        **{name: _yes(name) for name in ("validated", "sequence_level") if name in rows.columns},
    )
    if "sequence_level" in rows.columns:
        objects = objects.with_columns(pl.col("sequence_level").fill_null(False))
    return complete(objects, OBJECT_COLUMNS)


def _yes(name: str) -> pl.Expr:
    words = {"true": True, "1": True, "yes": True, "y": True, "false": False, "0": False, "no": False, "n": False}
    return pl.col(name).str.to_lowercase().replace_strict(words, default=None, return_dtype=pl.Boolean)


def write(
    path: Path, images: pl.DataFrame, locations: pl.DataFrame, boxes: pl.DataFrame, labels: pl.DataFrame
) -> tuple[str, ...]:
    """Write IMAGES, LOCATIONS, BOXES and LABELS rows as one CSV, a row per label, and per image or box without one.

    Returns:
        What the file does not hold: nothing.
    """
    per_box = boxes.rename({"conf": "box_conf"})
    of_boxes = per_box.join(labels.drop("image_id"), on="box_id", how="left", maintain_order="left")
    whole = labels.filter(pl.col("box_id").is_null())
    objects = pl.concat([of_boxes, whole], how="diagonal").rename({"source_label": "label"})
    places = locations.select("dataset", "location_id", "latitude", "longitude")
    rows = (
        images.join(places, on=["dataset", "location_id"], how="left", maintain_order="left")
        .join(objects, on="image_id", how="left", maintain_order="left")
        .rename(
            {
                "file_name": "path",
                "location_id": "location",
                "camera_id": "camera",
                "deployment_id": "deployment",
                "sequence_id": "sequence",
            }
        )
        .with_columns(datetime=stamps())
    )
    tables.save_csv(path, rows.select(NAMES.keys()))
    return ()
