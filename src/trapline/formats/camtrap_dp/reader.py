"""A Camtrap DP package as annotations."""

import codecs
import re
import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path, PurePosixPath

import msgspec
import polars as pl

from trapline.core.errors import InputError
from trapline.core.paths import unsafe_reason
from trapline.formats.annotations import IMAGE_COLUMNS, OBJECT_COLUMNS, Annotations, complete

DESCRIPTOR = "datapackage.json"
TABLES = ("deployments", "media", "observations")
MISSING = ("", "NA", "NaN", "nan")
URL = r"^[A-Za-z][A-Za-z0-9+.-]*://"
TYPES = {"human": "person", "vehicle": "vehicle", "blank": "empty", "animal": "animal"}
LARGEST_ZIP = 2**31


class _Resource(msgspec.Struct):
    name: str | None = None
    path: str | list[str] | None = None


class _Descriptor(msgspec.Struct):
    resources: list[_Resource]
    profile: str | None = None
    created: str | None = None


def is_package(path: Path) -> bool:
    """Whether a path is a package: its folder, its datapackage.json, or a zip of them."""
    if path.name == DESCRIPTOR:
        return True
    if path.is_dir():
        return (path / DESCRIPTOR).is_file()
    if path.suffix.casefold() != ".zip" or not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(PurePosixPath(name).name == DESCRIPTOR for name in archive.namelist())


def read(path: Path) -> Annotations:
    """Read a package: its folder, datapackage.json, or zip.

    A location is the standard's locationID (in its absence locationName, then the deployment). An animal's label is its
    scientificName, of a human "person", of a blank "empty"; observations of unknown or unclassified things are counted
    and left out. An observation of an event is a sequence-level label of every image of the event. Media that are
    videos are left out; media that lie at a URL are named `<deploymentID>/<file name>`, with the URL as `uri`.

    Raises:
        InputError: It is not a package, a table is missing, lies elsewhere or lacks a column, or a table is no CSV.
    """
    package, names = _open(path)
    try:
        descriptor = msgspec.json.decode(package[names[DESCRIPTOR]].removeprefix(codecs.BOM_UTF8), type=_Descriptor)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path} is not a Camtrap DP package: {DESCRIPTOR}: {error}.") from None
    tables = {name: _table(path, package, names, descriptor, name) for name in TABLES}
    media, notes = _media(tables["media"], tables["deployments"], path)
    objects, more = _objects(tables["observations"], media, path)
    lost = [
        name
        for name in ("count", "lifeStage", "sex", "behavior", "individualID")
        if name in tables["observations"].columns and tables["observations"][name].count()
    ]
    if lost:
        notes.append(f"not read: {', '.join(lost)} of observations.")
    return Annotations(
        complete(media, IMAGE_COLUMNS), complete(objects, OBJECT_COLUMNS), descriptor.created or "", (*notes, *more)
    )


def _open(path: Path) -> tuple[Mapping[str, bytes], dict[str, str]]:
    """(files by path within the package, datapackage.json's folder applied): lazily read, nothing unpacked."""
    try:
        if path.suffix.casefold() == ".zip":
            archive = zipfile.ZipFile(path)
            if sum(info.file_size for info in archive.infolist()) > LARGEST_ZIP:
                raise InputError(f"{path} unpacks to more than {LARGEST_ZIP:,} bytes. Unpack it, and give the folder.")
            found = next((name for name in archive.namelist() if PurePosixPath(name).name == DESCRIPTOR), None)
            if found is None:
                raise InputError(f"{path} holds no {DESCRIPTOR}: it is not a Camtrap DP package.")
            return _Zip(archive), {DESCRIPTOR: found, "": str(PurePosixPath(found).parent)}
        folder = path.parent if path.name == DESCRIPTOR else path
        if not (folder / DESCRIPTOR).is_file():
            raise InputError(f"{folder} holds no {DESCRIPTOR}: it is not a Camtrap DP package.")
        return _Folder(folder), {DESCRIPTOR: DESCRIPTOR, "": "."}
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} cannot be read: {error}.") from None


class _Zip(dict[str, bytes]):
    def __init__(self, archive: zipfile.ZipFile):
        super().__init__()
        self.archive = archive

    def __missing__(self, name: str) -> bytes:
        return self.archive.read(str(PurePosixPath(name)))


class _Folder(dict[str, bytes]):
    def __init__(self, folder: Path):
        super().__init__()
        self.folder = folder

    def __missing__(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()


def _table(
    path: Path, package: Mapping[str, bytes], names: Mapping[str, str], descriptor: _Descriptor, name: str
) -> pl.DataFrame:
    """One of the package's tables, every value text, the standard's missing values null."""
    resource = next((found for found in descriptor.resources if found.name == name), None)
    if resource is None or not resource.path:
        raise InputError(f"{path} has no resource {name!r}; a Camtrap DP package has {', '.join(TABLES)}.")
    parts = [resource.path] if isinstance(resource.path, str) else resource.path
    frames = []
    for part in parts:
        if re.match(URL, part):
            raise InputError(f"{path}: the table {name} lies at {part}. Download it beside {DESCRIPTOR}.")
        if unsafe_reason(part):
            raise InputError(f"{path}: the path {part!r} of the table {name} is refused: {unsafe_reason(part)}.")
        try:
            data = package[str(PurePosixPath(names[""]) / part)]
            frames.append(pl.read_csv(BytesIO(data), infer_schema=False, null_values=list(MISSING)))
        except (OSError, KeyError, zipfile.BadZipFile, RuntimeError) as error:
            raise InputError(f"{path}: the table {name} ({part}) cannot be read: {error}.") from None
        except pl.exceptions.PolarsError as error:
            raise InputError(f"{path}: the table {name} is not CSV: {str(error).splitlines()[0]}.") from None
    return pl.concat(frames, how="diagonal")


def _need(table: pl.DataFrame, path: Path, name: str, columns: tuple[str, ...]) -> None:
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise InputError(f"{path}: the table {name} lacks the columns {', '.join(missing)}.")


def _have(table: pl.DataFrame, *names: str) -> pl.Expr:
    """The first of these columns that is there and not null; null where none is."""
    there = [pl.col(name) for name in names if name in table.columns]
    return pl.coalesce(*there, pl.lit(None, pl.String)) if there else pl.lit(None, pl.String)


def _media(media: pl.DataFrame, deployments: pl.DataFrame, path: Path) -> tuple[pl.DataFrame, list[str]]:
    _need(media, path, "media", ("mediaID", "deploymentID", "filePath"))
    _need(deployments, path, "deployments", ("deploymentID",))
    places = deployments.select(
        "deploymentID",
        location=pl.coalesce(_have(deployments, "locationID", "locationName"), "deploymentID"),
        latitude=_have(deployments, "latitude").cast(pl.Float64, strict=False),
        longitude=_have(deployments, "longitude").cast(pl.Float64, strict=False),
    ).unique("deploymentID", keep="first", maintain_order=True)
    notes = []
    no_video = ~_have(media, "fileMediatype").str.starts_with("image").fill_null(True)
    usable = media.filter(~no_video & pl.col("mediaID").is_not_null() & pl.col("filePath").is_not_null())
    if usable.height < media.height:
        notes.append(f"{media.height - usable.height} of {media.height} media are no images; left out.")
    at_url = pl.col("filePath").str.contains(URL)
    tail = pl.col("filePath").str.split("/").list.last().str.split("?").list.first()
    named = pl.concat_str(
        pl.coalesce("deploymentID", pl.lit("media")), pl.coalesce(_have(media, "fileName"), tail), separator="/"
    )
    images = usable.join(places, on="deploymentID", how="left", maintain_order="left").with_columns(
        source_id="mediaID",
        file_name=pl.when(at_url).then(named).otherwise(pl.col("filePath").str.replace_all("\\", "/", literal=True)),
        uri=pl.when(at_url).then("filePath"),
        captured=_have(media, "timestamp"),
        deployment="deploymentID",
        sequence=_have(media, "sequenceID", "eventID"),
    )  # fmt: skip
    lost = usable.filter(~pl.col("deploymentID").is_in(deployments["deploymentID"].implode()).fill_null(False)).height
    if lost:
        notes.append(f"{lost} media name no deployment that is listed; they have no location.")
    return images, notes


def _objects(observations: pl.DataFrame, media: pl.DataFrame, path: Path) -> tuple[pl.DataFrame, list[str]]:
    _need(observations, path, "observations", ("observationID", "deploymentID", "observationType"))
    kind = pl.col("observationType")
    named = observations.with_columns(
        source_label=pl.when(kind == "animal")
        .then(pl.coalesce(_have(observations, "scientificName"), pl.lit("animal")))
        .otherwise(kind.replace_strict(TYPES, default=None)),
        media=_have(observations, "mediaID"),
    )
    unsure = named.filter(pl.col("source_label").is_null())
    notes = [f"{unsure.height} observations say unknown or unclassified; left out."] if unsure.height else []
    named = named.drop_nulls("source_label")
    direct = named.filter(pl.col("media").is_not_null()).with_columns(image="media", sequence_level=pl.lit(False))
    of_events = _spread(named.filter(pl.col("media").is_null()), media)
    placeless = named.height - direct.height - of_events["observationID"].n_unique()
    # What is said of the image itself is more exact than what is said of its whole event.
    of_events = of_events.join(direct.select("image"), on="image", how="anti", maintain_order="left")
    if placeless:
        notes.append(f"{placeless} observations of events find no image of their event; left out.")
    rows = pl.concat([direct, of_events], how="diagonal")
    by = _have(rows, "classificationMethod")
    number = {
        ours: _have(rows, *theirs).cast(pl.Float64, strict=False)
        for ours, theirs in {
            "box_x": ["bboxX"],
            "box_y": ["bboxY"],
            "box_w": ["bboxWidth"],
            "box_h": ["bboxHeight"],
            "conf": ["classificationProbability", "classificationConfidence"],
        }.items()
    }
    objects = rows.with_columns(
        **number,
        source_id=pl.when(~pl.col("sequence_level")).then("observationID"),
        unit=pl.lit("fraction"),
        frame=pl.lit("displayed"),
        source=pl.lit("human"),
        validated=by.replace_strict({"human": True, "machine": False}, default=None, return_dtype=pl.Boolean),
        validated_by=pl.when(by == "human").then(_have(rows, "classifiedBy")),
    )
    return objects, notes


def _spread(events: pl.DataFrame, media: pl.DataFrame) -> pl.DataFrame:
    """A row per image of an event: joined by the sequence where the tables name one, else by deployment and time."""
    if not events.height:
        return events.with_columns(image=pl.lit(None, pl.String), sequence_level=pl.lit(True)).head(0)
    images = media.select(image="source_id", deploymentID="deployment", sequence="sequence", taken=_time("captured"))
    if "sequenceID" in events.columns:
        by_name = events.join(images.drop("deploymentID", "taken"), left_on="sequenceID", right_on="sequence")
    else:
        by_name = events.head(0).with_columns(image=pl.lit(None, pl.String))
    rest = events.join(by_name.select("observationID"), on="observationID", how="anti")
    if {"eventStart", "eventEnd"} <= set(rest.columns) and rest.height:
        timed = rest.with_columns(begin=_time("eventStart"), end=_time("eventEnd"), at="deploymentID").drop(
            "deploymentID"
        )
        by_time = timed.join_where(
            images.drop("sequence"),
            pl.col("at") == pl.col("deploymentID"),
            pl.col("taken") >= pl.col("begin"),
            pl.col("taken") <= pl.col("end"),
        ).drop("begin", "end", "at", "taken")
        by_name = pl.concat([by_name, by_time], how="diagonal")
    return by_name.with_columns(sequence_level=pl.lit(True)).sort("observationID", "image")


def _time(column: str) -> pl.Expr:
    """An instant in UTC; the standard's times all bear a zone."""
    text = pl.col(column).str.replace(r"(?i)z$", "+00:00")
    return text.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%:z", strict=False, time_zone="UTC")
