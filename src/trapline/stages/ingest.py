"""Annotation files -> images, locations, boxes, labels: one row per thing, nothing dropped silently."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from trapline.core import schemas
from trapline.core.config import IngestConfig
from trapline.core.errors import InputError
from trapline.core.log import Log
from trapline.core.paths import unsafe_reason
from trapline.formats import cct, classification_csv

# Wall-clock layouts of the field's exports, tried in turn; a zone suffix is cut off before (the camera's clock counts).
TIME_LAYOUTS = (
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y:%m:%d %H:%M:%S",
    "%m/%d/%Y %H:%M:%S",
    "%m/%d/%Y %H:%M",
    "%Y-%m-%d %H:%M",
    "%a %b %d %H:%M:%S %Y",
)
ZONE_SUFFIX = r"(?i)\s*(z|utc|[+-]\d{2}:?\d{2})$"


@dataclass(frozen=True)
class AnnotationFile:
    """An annotation file and the dataset whose images it describes."""

    dataset: str
    path: Path


@dataclass(frozen=True)
class Ingested:
    """The four tables that annotations become (DESIGN.md section 4)."""

    images: pl.DataFrame
    locations: pl.DataFrame
    boxes: pl.DataFrame
    labels: pl.DataFrame


def ingest(files: Sequence[AnnotationFile], cfg: IngestConfig, *, log: Log) -> Ingested:
    """Annotation files -> tables: exports (`_exports`) and lists of ready-made crops (classification_ds.csv).

    Raises:
        InputError: A file is missing or cannot be used (all of them are named), or no image is left.
    """
    exports = [file for file in files if not _is_ready_made(file)]
    parts = [_exports(exports, cfg, log=log)] if exports else []
    for file in filter(_is_ready_made, files):
        ready = classification_csv.read(file.path, file.dataset, log=log)
        parts.append(Ingested(ready.images, _locations(ready.images), ready.boxes, ready.labels))
    if len(parts) == 1:
        return parts[0]
    return Ingested(*(pl.concat(getattr(part, name) for part in parts) for name in Ingested.__dataclass_fields__))


def _is_ready_made(file: AnnotationFile) -> bool:
    return file.path.suffix.casefold() == ".csv"


def _exports(files: Sequence[AnnotationFile], cfg: IngestConfig, *, log: Log) -> Ingested:
    """Read every annotation file and merge them: labels by name, images by id and path, the newest export first.

    Boxes of `empty_labels` are not objects: such an image gets a label for the whole image and no box. People and
    vehicles are objects with labels of their own.

    Raises:
        InputError: A file is missing, not JSON or not CCT (all of them are named), or no image is left.
    """
    exports = _read_all(files)
    listed = pl.concat([_tagged(export.images, file, rank) for file, rank, export in exports])
    objects = pl.concat([_tagged(export.objects, file, rank) for file, rank, export in exports])
    images = _unique_images(listed, log)
    if not images.height:
        raise InputError("no usable image is listed in " + ", ".join(file.path.name for file in files) + ".")
    boxes, labels = _objects(objects, images, listed, cfg, log)
    images = _places(images, log)
    images = _sequences(images, cfg.sequence_gap_s)
    unread = images.filter(pl.col("captured_at").is_null() & (pl.col("captured").str.strip_chars() != ""))
    if unread.height:
        log.warn(f"{unread.height} images have a time stamp that cannot be read (first: {unread['captured'][0]!r}).")
    return Ingested(
        images.select(list(schemas.IMAGES.columns)).sort("image_id"),
        _locations(images),
        boxes.sort("box_id"),
        labels.sort("image_id", "box_id", "source_label"),
    )


def _locations(images: pl.DataFrame) -> pl.DataFrame:
    """LOCATIONS rows of the images, without coordinates."""
    locations = (
        images.filter(pl.col("location_id").is_not_null())
        .group_by("dataset", "location_id")
        .agg(pl.col("camera_id").first())
        .with_columns(
            latitude=pl.lit(None, pl.Float64), longitude=pl.lit(None, pl.Float64), region=pl.lit(None, pl.String)
        )
    )
    return locations.select(list(schemas.LOCATIONS.columns)).sort("dataset", "location_id")


def _read_all(files: Sequence[AnnotationFile]) -> list[tuple[AnnotationFile, int, cct.CctExport]]:
    """Read every file, naming all that fail; rank 0 is the newest export of all (by its own date, then by order)."""
    read: list[tuple[AnnotationFile, cct.CctExport]] = []
    problems: list[str] = []
    for file in files:
        try:
            read.append((file, cct.read(file.path)))
        except InputError as error:
            problems.append(str(error))
    if problems:
        raise InputError(f"{len(problems)} of {len(files)} annotation files cannot be used:", problems)
    newest = sorted(range(len(read)), key=lambda n: (_instant(read[n][1].created), n), reverse=True)
    return [(read[n][0], newest.index(n), read[n][1]) for n in range(len(read))]


def _instant(created: str) -> datetime:
    """When an export was made; exports that do not say so readably are the oldest."""
    try:
        moment = datetime.fromisoformat(created)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return datetime.min.replace(tzinfo=UTC)


def _tagged(frame: pl.DataFrame, file: AnnotationFile, rank: int) -> pl.DataFrame:
    return frame.with_columns(dataset=pl.lit(file.dataset), rank=pl.lit(rank, pl.Int64))


def _unique_images(listed: pl.DataFrame, log: Log) -> pl.DataFrame:
    """One row per image: unsafe names out, then the newest of those that share an id or a path."""
    reasons = pl.Series("unsafe", [unsafe_reason(name) for name in listed["file_name"]], dtype=pl.String)
    frame = listed.with_columns(reasons, image_id=pl.concat_str("dataset", "source_id", separator="/"))
    safe = frame.filter(pl.col("unsafe").is_null()).sort("rank", maintain_order=True)
    by_id = safe.unique("image_id", keep="first", maintain_order=True)
    images = by_id.unique(["dataset", "file_name"], keep="first", maintain_order=True)
    unsafe = dict(frame.drop_nulls("unsafe").group_by("unsafe").len().sort("unsafe").iter_rows())
    log.account(
        "images listed",
        listed.height,
        "images",
        images.height,
        {
            "listed again (the newest export wins)": safe.height - by_id.height,
            "with the same file name": by_id.height - images.height,
            **unsafe,
        },
    )
    for reason, first in frame.drop_nulls("unsafe").group_by("unsafe").agg(pl.col("file_name").first()).iter_rows():
        log.warn(f"{unsafe[reason]} images left out: {reason} (first: {first!r}). Rename them in the export.")
    return images


def _objects(
    objects: pl.DataFrame, images: pl.DataFrame, listed: pl.DataFrame, cfg: IngestConfig, log: Log
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Annotations -> (boxes, labels). Each annotation is accounted for once, under the first reason that fits."""
    known = listed.select(image_id=pl.concat_str("dataset", "source_id", separator="/")).unique()
    empties = [label.casefold() for label in cfg.empty_labels]
    sides = ["box_x", "box_y", "box_w", "box_h"]
    frame = (
        objects.with_columns(image_id=pl.concat_str("dataset", "image", separator="/"))
        .join(images.select("image_id", image_rank="rank"), on="image_id", how="left", maintain_order="left")
        .join(known.with_columns(listed=True), on="image_id", how="left", maintain_order="left")
        .with_columns(
            place=pl.format("{}/{},{},{},{}", "image_id", *sides),
            is_empty=pl.col("source_label").str.to_lowercase().is_in(empties),
        )
        .with_columns(
            left_out=pl.when(pl.col("listed").is_null())
            .then(pl.lit("pointing to no image"))
            .when(pl.col("image_rank").is_null() | (pl.col("image_rank") != pl.col("rank")))
            .then(pl.lit("of an image left out or listed in a newer export"))
            .when(pl.col("source_label").is_null())
            .then(pl.lit("with an unknown category id"))
            .when(pl.col("source_label").str.strip_chars() == "")
            .then(pl.lit("with a blank label"))
            .when(pl.lit(cfg.only_validated) & (pl.col("validated") == False).fill_null(False))  # noqa: E712
            .then(pl.lit("not validated"))
        )
    )
    kept = frame.filter(pl.col("left_out").is_null()).with_columns(
        boxless=pl.when("is_empty")
        .then(pl.lit("meaning no animal"))
        .when(pl.col("box_x").is_null())
        .then(pl.lit("without a box"))
        .when(~pl.all_horizontal(pl.col(sides).is_finite()) | (pl.col("box_w") <= 0) | (pl.col("box_h") <= 0))
        .then(pl.lit("with a box of no area"))
    )
    boxed = kept.filter(pl.col("boxless").is_null())
    by_source = pl.concat_str("dataset", "source_id", separator="/")
    boxed = boxed.with_columns(repeats=pl.col("place").n_unique().over(by_source) > 1)
    repeated = boxed.filter("repeats", pl.col("source_id").is_not_null())
    if repeated.height:
        log.warn(
            f"{repeated.height} boxes share their annotation id with another box (first: {repeated['source_id'][0]}); "
            "they are named by image and position instead."
        )
    boxed = boxed.with_columns(box_id=pl.when("repeats").then("place").otherwise(pl.coalesce(by_source, "place")))
    # One object with several labels comes as several annotations with the very same box: one crop, several labels.
    boxed = boxed.with_columns(box_id=pl.col("box_id").first().over("place"))
    unique = boxed.unique("box_id", keep="first", maintain_order=True)
    log.account(
        "annotations",
        objects.height,
        "boxes",
        unique.height,
        {
            **_counts(frame, "left_out"),
            **_counts(kept, "boxless"),
            "naming a box again": boxed.height - unique.height,
        },
    )
    for reason, what in (("pointing to no image", "image"), ("with an unknown category id", "image_id")):
        bad = frame.filter(pl.col("left_out") == reason)
        if bad.height:
            log.warn(f"{bad.height} annotations {reason} (first: {bad['source_id'][0]}, image {bad[what][0]}).")
    boxes = unique.select(
        "box_id",
        "image_id",
        *sides,
        unit=pl.lit("px"),
        frame=pl.lit("auto"),
        source=pl.lit("human"),
        # A label's confidence is the labeller's; the box itself was drawn or accepted by a person.
        conf=pl.when(pl.col("validated") == False).then(pl.col("conf")),  # noqa: E712
    )
    whole = kept.filter(pl.col("boxless").is_not_null()).with_columns(box_id=pl.lit(None, pl.String))
    labels = pl.concat([boxed.select(_LABEL_COLUMNS), whole.select(_LABEL_COLUMNS)]).unique(maintain_order=True)
    return boxes, labels


_LABEL_COLUMNS = list(schemas.LABELS.columns)


def _counts(frame: pl.DataFrame, column: str) -> dict[str, int]:
    return dict(frame.drop_nulls(column).group_by(column).len().sort(column).iter_rows())


def _places(images: pl.DataFrame, log: Log) -> pl.DataFrame:
    """Name location, camera and deployment.

    Animl's location is a deployment's name and may repeat at another camera: then the camera is put before it, so
    that two places never count as one.
    """
    shared = (
        images.filter(pl.col("location").is_not_null() & pl.col("camera").is_not_null())
        .group_by("dataset", "location")
        .agg(cameras=pl.col("camera").n_unique())
        .filter(pl.col("cameras") > 1)
    )
    if shared.height:
        log.warn(
            f"{shared.height} location names are used by several cameras (first: {shared['location'].sort()[0]}); they "
            "are kept apart as <camera>/<location>."
        )
    missing = images.filter(pl.col("location").is_null() & pl.col("camera").is_null()).height
    if missing:
        log.warn(f"{missing} of {images.height} images have no location; they are grouped by sequence.")
    ambiguous = pl.col("cameras").is_not_null()
    return images.join(shared, on=["dataset", "location"], how="left", maintain_order="left").with_columns(
        location_id=pl.when(ambiguous)
        .then(pl.coalesce(pl.concat_str("camera", "location", separator="/"), "location"))
        .otherwise(pl.coalesce("location", "camera")),
        camera_id=pl.col("camera"),
        deployment_id=pl.col("location"),
    )


def _sequences(images: pl.DataFrame, gap_s: float) -> pl.DataFrame:
    """Name the burst of every image: the source's own, else frames of one camera at most `gap_s` seconds apart.

    An image without a time stamp or without a place is a sequence of its own. A sequence bears its first image's id.
    """
    clock = pl.col("captured").str.strip_chars().str.replace(ZONE_SUFFIX, "")
    times = [clock.str.to_datetime(layout, strict=False, time_unit="us") for layout in TIME_LAYOUTS]
    place = pl.coalesce("camera_id", "location_id")
    alone = pl.col("captured_at").is_null() | pl.col("place").is_null()
    gap = pl.col("captured_at").diff().over("dataset", "place").dt.total_microseconds() / 1e6
    begins = alone | gap.is_null() | (gap > gap_s)
    return (
        images.with_columns(captured_at=pl.coalesce(times), place=place)
        .sort("dataset", "place", "captured_at", "image_id", nulls_last=True)
        .with_columns(number=begins.cum_sum())
        .with_columns(derived=pl.col("image_id").first().over("number"))
        .with_columns(sequence_id=pl.coalesce(pl.concat_str("dataset", pl.lit("/seq/"), "sequence"), pl.col("derived")))
    )
