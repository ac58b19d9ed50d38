"""Where and when: names of locations, cameras and deployments, time stamps, and the bursts that frames belong to."""

import polars as pl

from trapline.core import schemas
from trapline.core.log import Log

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


def name_places(images: pl.DataFrame, log: Log) -> pl.DataFrame:
    """Add location_id, camera_id and deployment_id.

    Animl's location is a deployment's name and may repeat at another camera: then the camera is put before it, so
    that two places never count as one.

    Args:
        images: dataset, location, camera, deployment.
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
        deployment_id=pl.coalesce("deployment", "location"),
    )


def locations(images: pl.DataFrame) -> pl.DataFrame:
    """LOCATIONS rows of images with named places; coordinates are the first that are stated."""
    named = images.filter(pl.col("location_id").is_not_null())
    found = named.group_by("dataset", "location_id").agg(
        pl.col("camera_id", "latitude", "longitude").drop_nulls().first(), region=pl.lit(None, pl.String)
    )
    return found.select(list(schemas.LOCATIONS.columns)).sort("dataset", "location_id")


def name_sequences(images: pl.DataFrame, gap_s: float, log: Log) -> pl.DataFrame:
    """Add captured_at, utc_offset and sequence_id.

    A sequence is the source's own burst, else frames of one camera at most `gap_s` seconds apart. An image without a
    time stamp or without a place is a sequence of its own. A sequence bears its first image's id.

    Args:
        images: image_id, dataset, captured, sequence, camera_id, location_id.
    """
    zone = pl.col("captured").str.strip_chars().str.extract(ZONE_SUFFIX).str.to_uppercase().replace("UTC", "Z")
    named = images.with_columns(captured_at=clock(images["captured"]), utc_offset=zone)
    derived = bursts(named.with_columns(place=pl.coalesce("camera_id", "location_id")), gap_s)
    named = named.with_columns(sequence_id=pl.coalesce(pl.concat_str("dataset", pl.lit("/seq/"), "sequence"), derived))
    unread = named.filter(pl.col("captured_at").is_null() & (pl.col("captured").str.strip_chars() != ""))
    if unread.height:
        log.warn(f"{unread.height} images have a time stamp that cannot be read (first: {unread['captured'][0]!r}).")
    return named


def bursts(images: pl.DataFrame, gap_s: float) -> pl.Series:
    """For each image the image_id of the first of its burst: frames of one place at most `gap_s` seconds apart.

    An image without a time stamp or without a place is alone.

    Args:
        images: image_id, dataset, captured_at, place.
    """
    ordered = (
        images.select("image_id", "dataset", "captured_at", "place")
        .with_row_index("row")
        .sort("dataset", "place", "captured_at", "image_id", nulls_last=True)
    )
    moved = (pl.col("place") != pl.col("place").shift()) | (pl.col("dataset") != pl.col("dataset").shift())
    gap = pl.col("captured_at").diff().dt.total_microseconds() / 1e6
    alone = pl.col("captured_at").is_null() | pl.col("place").is_null() | gap.is_null()
    return (
        ordered.select("row", first=pl.when(alone | moved.fill_null(True) | (gap > gap_s)).then("image_id"))
        .with_columns(pl.col("first").forward_fill())
        .sort("row")["first"]
    )


def stamps() -> pl.Expr:
    """captured_at and utc_offset of IMAGES as one ISO text, as exports write it; null where there is no time."""
    return pl.concat_str(pl.col("captured_at").dt.strftime("%Y-%m-%dT%H:%M:%S%.3f"), pl.col("utc_offset").fill_null(""))


def clock(captured: pl.Series) -> pl.Series:
    """Time stamps as the camera's clock showed them; null where no layout fits."""
    texts = captured.str.strip_chars().str.replace(ZONE_SUFFIX, "")
    times = pl.Series(captured.name, [None], dtype=schemas.TIME).new_from_index(0, len(texts))
    for layout in TIME_LAYOUTS:
        left = times.is_null() & texts.is_not_null()
        if not left.any():
            break
        times = times.zip_with(~left, texts.str.to_datetime(layout, strict=False, time_unit="us"))
    return times
