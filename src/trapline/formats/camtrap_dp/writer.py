"""Tables as a Camtrap DP 1.0.2 package."""

import json
import mimetypes
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import msgspec
import polars as pl

from trapline.core.box_columns import SIDES, in_fractions
from trapline.core.errors import InputError
from trapline.core.pairing import kind_of
from trapline.io import atomic, tables

PROFILE = "https://raw.githubusercontent.com/tdwg/camtrap-dp/1.0.2/camtrap-dp-profile.json"
SCHEMAS = Path(__file__).parent / "schemas"
FILE_PATH = r"^[^./~]"  # media.filePath of the standard; `..` is forbidden anywhere in it
STATED = {  # what the standard requires and no table of ours knows; the metadata file says it better
    "title": "Camera trap project",
    "contributors": [{"title": "unknown", "role": "contributor"}],
    "project": {
        "title": "Camera trap project",
        "samplingDesign": "opportunistic",
        "captureMethod": ["activityDetection"],
        "individualAnimals": False,
        "observationLevel": ["media"],
    },
}


def write(
    folder: Path,
    images: pl.DataFrame,
    locations: pl.DataFrame,
    boxes: pl.DataFrame,
    labels: pl.DataFrame,
    *,
    created: str,
    empty_labels: tuple[str, ...] = ("empty",),
    utc_offset: str | None = None,
    scientific_names: Mapping[str, str] | None = None,
    metadata: Mapping[str, object] | None = None,
) -> tuple[str, ...]:
    """Write IMAGES, LOCATIONS, BOXES and LABELS rows as a package: datapackage.json and three tables in `folder`.

    Args:
        created: The package's date, ISO text with zone.
        utc_offset: Zone of time stamps that do not state theirs, such as "-08:00".
        scientific_names: Label -> scientificName; a label that is not listed is written as it is.
        metadata: Fields of datapackage.json (title, contributors, project, licenses, ...) that replace the defaults.

    Returns:
        What the package does not hold, a sentence each.

    Raises:
        InputError: A location has no coordinates, or a time stamp no zone; both are required by the standard. Or no
            image has a place and a time.
    """
    media, left_out = _media(images, boxes, labels)
    if not media.height:
        raise InputError("no image can stand in a Camtrap DP package:", left_out)
    _require_places(media, locations)
    media = _zoned(media, utc_offset)
    observations = _observations(media, boxes, labels, empty_labels, scientific_names or {})
    deployments = _deployments(media, locations)
    frames = {"deployments": deployments, "media": _media_table(media), "observations": observations}
    for name, frame in frames.items():
        fields = [field["name"] for field in json.loads((SCHEMAS / f"{name}-table-schema.json").read_text())["fields"]]
        absent = [pl.lit(None, pl.String).alias(column) for column in fields if column not in frame.columns]
        tables.save_csv(folder / f"{name}.csv", frame.with_columns(absent).select(fields))
    descriptor = _descriptor(deployments, observations, created, metadata or {})
    text = msgspec.json.format(msgspec.json.encode(descriptor), indent=2).decode()
    atomic.replace_text(folder / "datapackage.json", text)
    return left_out


def _media(images: pl.DataFrame, boxes: pl.DataFrame, labels: pl.DataFrame) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The images that the standard can hold, with their deploymentID; and what it cannot."""
    per_name = images.group_by("dataset", "deployment_id").agg(n=pl.col("location_id").n_unique())
    named = images.join(per_name, on=["dataset", "deployment_id"], how="left", nulls_equal=True, maintain_order="left")
    named = named.with_columns(
        deploymentID=pl.when(pl.col("n") == 1)
        .then(pl.coalesce("deployment_id", "location_id"))
        .otherwise("location_id")
    )
    reasons = (
        ("images without a location", pl.col("deploymentID").is_null()),
        ("images without a time stamp", pl.col("captured_at").is_null()),
        (
            "images whose path the standard forbids",
            ~pl.col("file_name").str.contains(FILE_PATH) | pl.col("file_name").str.contains("..", literal=True),
        ),
    )
    named = named.with_columns(out=pl.coalesce(pl.when(test).then(pl.lit(why)) for why, test in reasons))
    media = named.filter(pl.col("out").is_null())
    counts = list(named.drop_nulls("out").group_by("out").len().sort("out").iter_rows())
    unsized = in_fractions(boxes, images).filter(pl.any_horizontal(pl.col(SIDES).is_null())).height
    detected = boxes.filter(pl.col("source") != "human").height
    more = [
        (
            "boxes of images whose size is not known (say where the images are: --images); their labels are kept",
            unsized,
        ),
        ("boxes' detector and its confidence", detected),
        ("images that nobody labelled: they have no observation", media.join(labels, on="image_id", how="anti").height),
        ("images' sizes in pixels", images["width_px"].count()),
    ]
    return media, tuple(f"{n:,} {what}" for what, n in (*counts, *more) if n)


def _require_places(media: pl.DataFrame, locations: pl.DataFrame) -> None:
    used = media.select("dataset", "location_id").unique()
    placed = used.join(locations, on=["dataset", "location_id"], how="left").sort("location_id")
    bare = placed.filter(pl.col("latitude").is_null() | pl.col("longitude").is_null())
    if bare.height:
        raise InputError(
            f"{bare.height} of {placed.height} locations have no coordinates (first: {bare['location_id'][0]}), which "
            "Camtrap DP requires. Give them: --locations locations.csv (dataset,location,latitude,longitude)."
        )


def _zoned(media: pl.DataFrame, utc_offset: str | None) -> pl.DataFrame:
    """`timestamp` as the standard writes it, and `instant` to compare by."""
    media = media.with_columns(zone=pl.coalesce("utc_offset", pl.lit(utc_offset, pl.String)))
    bare = media.filter(pl.col("zone").is_null())
    if bare.height:
        raise InputError(
            f"{bare.height} of {media.height} images do not state the zone of their time stamps (first: "
            f"{bare['file_name'][0]}), which Camtrap DP requires. Say it: --utc-offset=-08:00"
        )
    stamp = pl.concat_str(pl.col("captured_at").dt.strftime("%Y-%m-%dT%H:%M:%S"), "zone")
    return media.with_columns(timestamp=stamp).with_columns(
        instant=pl.col("timestamp")
        .str.replace(r"Z$", "+00:00")
        .str.to_datetime("%Y-%m-%dT%H:%M:%S%:z", time_zone="UTC"),
        eventID=pl.coalesce("sequence_id", "image_id"),
    )


def _media_table(media: pl.DataFrame) -> pl.DataFrame:
    types = [mimetypes.guess_type(name)[0] or "image/jpeg" for name in media["file_name"]]
    return media.select(
        "deploymentID",
        "timestamp",
        mediaID="image_id",
        filePath="file_name",
        filePublic=pl.lit("false"),
        fileName=pl.col("file_name").str.split("/").list.last(),
        fileMediatype=pl.Series(
            [kind if kind.startswith("image/") else "image/jpeg" for kind in types], dtype=pl.String
        ),
    )


def _deployments(media: pl.DataFrame, locations: pl.DataFrame) -> pl.DataFrame:
    spans = media.sort("instant").group_by("deploymentID", maintain_order=True).agg(
        pl.col("dataset", "location_id", "camera_id").first(),
        deploymentStart=pl.col("timestamp").first(),
        deploymentEnd=pl.col("timestamp").last(),
    )  # fmt: skip
    return (
        spans.join(
            locations.select("dataset", "location_id", "latitude", "longitude"),
            on=["dataset", "location_id"],
            maintain_order="left",
        )
        .with_columns(locationID="location_id", cameraID="camera_id")
        .sort("deploymentID")
    )


def _observations(
    media: pl.DataFrame,
    boxes: pl.DataFrame,
    labels: pl.DataFrame,
    empty_labels: tuple[str, ...],
    scientific_names: Mapping[str, str],
) -> pl.DataFrame:
    empties = [label.casefold() for label in empty_labels]
    events = media.group_by("eventID").agg(
        eventStart=pl.col("timestamp").sort_by("instant").first(),
        eventEnd=pl.col("timestamp").sort_by("instant").last(),
    )
    placed = in_fractions(boxes, media).select("box_id", *SIDES)
    rows = (
        labels.join(
            media.select("image_id", "deploymentID", "eventID", "timestamp"), on="image_id", maintain_order="left"
        )
        .join(placed, on="box_id", how="left", maintain_order="left")
        .join(events, on="eventID", maintain_order="left")
        .with_columns(kind=pl.Series("kind", [], dtype=pl.String) if not labels.height else _kind(empties))
    )
    of_event = rows.filter("sequence_level").unique(["eventID", "source_label"], keep="first", maintain_order=True)
    rows = pl.concat([rows.filter(~pl.col("sequence_level")), of_event])
    number = pl.int_range(pl.len()).over(pl.coalesce("box_id", "image_id"))
    base = pl.coalesce("box_id", pl.format("{}:image", "image_id"))
    machine = pl.col("validated") == False  # noqa: E712
    on_media = ~pl.col("sequence_level")
    return rows.select(
        "deploymentID",
        "eventID",
        observationID=pl.when(number == 0).then(base).otherwise(pl.format("{}:{}", base, number)),
        mediaID=pl.when(on_media).then("image_id"),
        eventStart=pl.when(on_media).then("timestamp").otherwise("eventStart"),
        eventEnd=pl.when(on_media).then("timestamp").otherwise("eventEnd"),
        observationLevel=pl.when(on_media).then(pl.lit("media")).otherwise(pl.lit("event")),
        observationType="kind",
        scientificName=pl.when(pl.col("kind") == "animal").then(
            pl.col("source_label").replace(dict(scientific_names)) if scientific_names else pl.col("source_label")
        ),
        bboxX=pl.col("box_x"),
        bboxY=pl.col("box_y"),
        bboxWidth=pl.min_horizontal(pl.col("box_w"), 1.0 - pl.col("box_x")),
        bboxHeight=pl.min_horizontal(pl.col("box_h"), 1.0 - pl.col("box_y")),
        classificationMethod=pl.when(machine).then(pl.lit("machine")).otherwise(pl.lit("human")),
        classifiedBy="validated_by",
        classificationProbability="conf",
    ).sort("observationID")


def _kind(empties: list[str]) -> pl.Expr:
    """The standard's observationType of a label."""
    name = pl.col("source_label").str.strip_chars().str.to_lowercase()
    kinds = pl.col("source_label").map_elements(kind_of, return_dtype=pl.String)
    return pl.when(name.is_in(empties)).then(pl.lit("blank")).otherwise(kinds.replace({"person": "human"}))


def _descriptor(
    deployments: pl.DataFrame, observations: pl.DataFrame, created: str, metadata: Mapping[str, object]
) -> dict[str, object]:
    base = PROFILE.rsplit("/", 1)[0]
    resources = [
        {
            "name": name,
            "path": f"{name}.csv",
            "profile": "tabular-data-resource",
            "format": "csv",
            "mediatype": "text/csv",
            "encoding": "utf-8",
            "schema": f"{base}/{name}-table-schema.json",
        }
        for name in ("deployments", "media", "observations")
    ]
    names = sorted(set(observations["scientificName"].drop_nulls()))
    span = [moment[:10] for moment in (*deployments["deploymentStart"], *deployments["deploymentEnd"])]
    today = datetime.fromisoformat(created).date().isoformat()
    return {
        "name": "camera-trap-package",
        **STATED,
        **metadata,
        "profile": PROFILE,
        "created": created,
        "resources": resources,
        "spatial": _outline(deployments),
        "temporal": {"start": min(span, default=today), "end": max(span, default=today)},
        "taxonomic": [{"scientificName": name} for name in names],
    }


def _outline(deployments: pl.DataFrame) -> dict[str, object]:
    """GeoJSON of the rectangle that holds all deployments."""
    west, east = (deployments["longitude"].min() or 0.0, deployments["longitude"].max() or 0.0)
    south, north = (deployments["latitude"].min() or 0.0, deployments["latitude"].max() or 0.0)
    corners = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"type": "Polygon", "coordinates": [corners]}
