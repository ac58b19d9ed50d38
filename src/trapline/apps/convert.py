"""`trapline convert`: any format that trapline reads into any that it writes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

import polars as pl

from trapline.core import decisions, geometry
from trapline.core.box_columns import SIDES
from trapline.core.config import IngestConfig
from trapline.core.errors import InputError
from trapline.core.log import Log
from trapline.formats import corrections, locations_csv, megadetector, recognise
from trapline.formats.json_file import decode
from trapline.io import images as image_io
from trapline.project import Project
from trapline.stages.ingest import AnnotationFile, ingest

CONFIG = "trapline.yaml"
MD = "md"  # MegaDetector results, as recognise names them
LARGEST = 10**10  # pixels of an image whose header alone is read


@dataclass(frozen=True)
class Writer:
    """A format that is written.

    Args:
        title: What to call it before a person.
        function: "module:function", called with path and the four tables; returns what the file does not hold.
        options: Which of convert's options it takes.
        folder: Whether it writes a folder rather than a file.
    """

    title: str
    function: str
    options: tuple[str, ...] = ()
    folder: bool = False


WRITERS = {
    "cct": Writer("COCO Camera Traps JSON", "trapline.formats.cct_file:write", ("created", "empty_labels")),
    "md": Writer("MegaDetector results 1.6", "trapline.formats.megadetector_file:write", ("empty_labels",)),
    "queried-images": Writer("queried_images.json", "trapline.formats.queried_images:write"),
    "csv": Writer("CSV", "trapline.formats.image_csv:write"),
    "camtrap-dp": Writer(
        "Camtrap DP 1.0.2",
        "trapline.formats.camtrap_dp:write",
        ("created", "empty_labels", "utc_offset", "scientific_names", "metadata"),
        folder=True,
    ),
}


@dataclass(frozen=True)
class _Tables:
    images: pl.DataFrame
    locations: pl.DataFrame
    boxes: pl.DataFrame
    labels: pl.DataFrame


def convert(
    sources: Sequence[str | Path],
    to: str,
    out: str | Path,
    *,
    images: str | Path | None = None,
    locations: str | Path | None = None,
    utc_offset: str | None = None,
    scientific_names: str | Path | None = None,
    metadata: str | Path | None = None,
    overwrite: bool = False,
    cfg: IngestConfig | None = None,
    log: Log | None = None,
) -> tuple[str, ...]:
    """Read annotation files of the same images, merge them as `ingest` does, and write them in another format.

    Args:
        sources: Files or folders of any format that trapline reads, or one project's folder; a corrections.csv among
            them is applied.
        to: A name of WRITERS.
        out: The file to write (for Camtrap DP the folder).
        images: Folder of the full-size images. Their headers tell sizes and EXIF orientation, which pixel boxes need
            to become fractions and back where the annotations do not state them.
        locations: locations.csv with coordinates.
        utc_offset: Zone of time stamps that do not state theirs, such as "-08:00".
        scientific_names: CSV of label,scientific_name, for Camtrap DP.
        metadata: JSON with fields of Camtrap DP's datapackage.json (title, contributors, project, licenses).
        overwrite: Replace `out` if it exists.
        cfg: How annotations are read and merged: thresholds, labels that mean "no animal".

    Returns:
        What `out` does not hold, a sentence each; logged too.

    Raises:
        InputError: An unknown format, a source that cannot be used, or one that lacks what the target requires.
    """
    log = log or Log()
    cfg = cfg or IngestConfig()
    target = Path(out).expanduser()
    writer = _writer(to)
    paths = [Path(source).expanduser() for source in sources]
    if not paths:
        raise InputError("nothing to convert: name the files or folders before --to.")
    if locations is not None and not Path(locations).is_file():
        raise InputError(f"{locations} does not exist. Check the path after --locations.")
    if target.exists() and not overwrite:
        raise InputError(f"{target} exists already. Give another name, or --overwrite.")
    if target.resolve() in [path.resolve() for path in paths]:
        raise InputError(f"{target} is one of the files to convert. Give another name.")
    tables = _with_source_ids(_read(paths, cfg, log))
    if locations is not None:
        tables = _placed(tables, locations_csv.read(Path(locations)))
    if images is not None:
        tables = _measured(tables, Path(images).expanduser(), log)
    options = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "empty_labels": cfg.empty_labels,
        "utc_offset": utc_offset,
        "scientific_names": _names(Path(scientific_names)) if scientific_names else None,
        "metadata": decode(Path(metadata), dict[str, object], "a JSON object") if metadata else None,
    }
    module, function = writer.function.split(":")
    write: Callable[..., tuple[str, ...]] = getattr(import_module(module), function)
    chosen = {name: options[name] for name in writer.options}
    lost = write(target, tables.images, tables.locations, tables.boxes, tables.labels, **chosen)
    n_labels = tables.labels["source_label"].n_unique()
    log.note(f"wrote {target}: {tables.images.height:,} images, {tables.boxes.height:,} boxes, {n_labels:,} labels")
    for sentence in lost:
        log.warn(f"{writer.title} does not hold {sentence}.")
    return lost


def _writer(to: str) -> Writer:
    if to not in WRITERS:
        raise InputError(f"there is no format {to!r} to write. Choose one of {', '.join(WRITERS)}.")
    return WRITERS[to]


def _read(paths: Sequence[Path], cfg: IngestConfig, log: Log) -> _Tables:
    """The four tables of a project, or of annotation files merged, with corrections applied."""
    projects = [path for path in paths if (path / CONFIG).is_file()]
    if projects:
        if len(paths) > 1:
            raise InputError(f"{projects[0]} is a project: convert it alone.")
        return _of_project(projects[0], log)
    kinds = {path: recognise.recognise(path) for path in paths}
    for path, kind in kinds.items():
        log.note(f"{path.name}: {recognise.title(kind)}")
    decided = [path for path, kind in kinds.items() if kind == recognise.CORRECTIONS]
    files = [
        AnnotationFile(name, path)
        for path, kind in kinds.items()
        if kind != recognise.CORRECTIONS
        for name in recognise.datasets(path, kind) or ["images"]
    ]
    if not files:
        raise InputError("corrections are of annotations: give the export that they belong to too.")
    found = ingest(files, cfg, log=log)
    boxes, labels = found.boxes, found.labels
    results = [megadetector.read(path).detections for path, kind in kinds.items() if kind == MD]
    for path in decided:
        rows = corrections.read(path)
        if results:
            rows = decisions.of_detections(rows, pl.concat(results), found.images, boxes)
        # The dataset's name, which every box_id begins with, is the project's; here there is none.
        ids = boxes.select("box_id", bare=pl.col("box_id").str.replace(r"^[^/]+/", ""))
        rows = rows.with_columns(bare=pl.col("box_id").str.replace(r"^[^/]+/", "")).drop("box_id")
        named = rows.join(ids, on="bare", how="left", maintain_order="left")
        named = named.with_columns(pl.coalesce("box_id", "bare")).select("box_id", "action", "to", "who")
        boxes, labels = decisions.decide(boxes, labels, named, log)
    return _Tables(found.images, found.locations, boxes, labels)


def _of_project(root: Path, log: Log) -> _Tables:
    project = Project(root, log)
    project.run(until="ingest")
    tables = _Tables(*(project.table(name) for name in ("images", "locations", "boxes", "labels")))
    path = project.layout.corrections
    if not path.exists():
        return tables
    boxes, labels = decisions.decide(tables.boxes, tables.labels, corrections.read(path), log)
    return replace(tables, boxes=boxes, labels=labels)


def _with_source_ids(tables: _Tables) -> _Tables:
    """Ids as the source gave them: without the dataset before them, where there is one dataset alone."""
    datasets = tables.images["dataset"].unique().to_list()
    prefix = f"{datasets[0]}/" if len(datasets) == 1 else ""

    def bare(name: str) -> pl.Expr:
        return pl.col(name).str.strip_prefix(prefix) if prefix else pl.col(name)

    # Bursts that trapline derived are derived again when the file is read; those that the source named are kept.
    named = pl.col("sequence_id").str.strip_prefix(pl.concat_str("dataset", pl.lit("/seq/")))
    file_name = pl.col("file_name") if prefix else pl.concat_str("dataset", "file_name", separator="/")
    images = tables.images.with_columns(
        bare("image_id"), file_name, sequence_id=pl.when(named != pl.col("sequence_id")).then(named)
    )
    boxes = tables.boxes.with_columns(bare("image_id"), bare("box_id"))
    labels = tables.labels.with_columns(bare("image_id"), bare("box_id"))
    return _Tables(images, tables.locations, boxes, labels)


def _placed(tables: _Tables, given: pl.DataFrame) -> _Tables:
    """Locations with coordinates; with one dataset alone its name in the file does not matter."""
    names = tables.images["dataset"].unique()
    if names.len() == 1:
        given = given.with_columns(dataset=pl.lit(names[0]))
    twice = given.filter(given.select("dataset", "location_id").is_duplicated())
    if twice.height:
        raise InputError(f"{twice['location_id'].n_unique()} places of the locations file are listed for two datasets.")
    return replace(tables, locations=tables.locations.update(given, on=["dataset", "location_id"], how="left"))


def _measured(tables: _Tables, folder: Path, log: Log) -> _Tables:
    """Sizes as displayed from the files' headers, and boxes as fractions of the displayed image."""
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder. Check the path after --images.")
    of_image = {key[0]: frame for key, frame in tables.boxes.partition_by("image_id", as_dict=True).items()}
    sizes: list[tuple[str, int, int]] = []
    placed: list[tuple[str, float, float, float, float]] = []
    failed: dict[str, int] = {}
    with log.progress("headers read", tables.images.height) as advance:
        for image_id, name, width, height in tables.images.select(
            "image_id", "file_name", "width_px", "height_px"
        ).iter_rows():
            try:
                opened, header = image_io.open_image(folder / name, LARGEST)
                opened.close()
            except image_io.ImageFailure as failure:
                failed[str(failure)] = failed.get(str(failure), 0) + 1
                continue
            finally:
                advance(1)
            sizes.append((image_id, *header.displayed_px))
            stated = (width, height) if width and height else None
            for box in of_image[image_id].iter_rows(named=True) if image_id in of_image else ():
                sides = (box["box_x"], box["box_y"], box["box_w"], box["box_h"])
                try:
                    found = geometry.resolve(geometry.GivenBox(*sides, box["unit"], box["frame"], stated), header)
                except ValueError:
                    continue
                placed.append((box["box_id"], found.x, found.y, found.w, found.h))
    log.account("images", tables.images.height, "headers", len(sizes), failed)
    size_of = pl.DataFrame(sizes, schema=["image_id", "width_px", "height_px"], orient="row", schema_overrides=_SIZES)
    box_of = pl.DataFrame(placed, schema=_BOXES, orient="row").with_columns(
        unit=pl.lit("fraction"), frame=pl.lit("displayed")
    )
    return replace(
        tables,
        images=tables.images.update(size_of, on="image_id", how="left"),
        boxes=tables.boxes.update(box_of, on="box_id", how="left"),
    )


_SIZES = {"image_id": pl.String, "width_px": pl.Int64, "height_px": pl.Int64}
_BOXES = {"box_id": pl.String, **dict.fromkeys(SIDES, pl.Float64)}


def _names(path: Path) -> Mapping[str, str]:
    """Label -> scientific name, from a CSV of both."""
    try:
        table = pl.read_csv(path, infer_schema=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(f"{path} cannot be read: {str(error).splitlines()[0]}.") from None
    if not {"label", "scientific_name"} <= set(table.columns):
        raise InputError(f"{path} lacks the columns label, scientific_name; it has {', '.join(table.columns)}.")
    return dict(table.select("label", "scientific_name").drop_nulls().rows())
