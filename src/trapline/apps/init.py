"""`trapline init`: a project folder from annotation files and a folder of images."""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from trapline.core import urls
from trapline.core.config import DATASET_NAME, DatasetSource, IngestConfig, ProjectConfig
from trapline.core.errors import InputError
from trapline.core.log import Log
from trapline.formats import camtrap_dp, classification_csv, folders, recognise
from trapline.io import atomic, project_file, tables
from trapline.io.layout import Layout
from trapline.project import Project
from trapline.stages.fetch import fetch
from trapline.stages.ingest import AnnotationFile, ingest


def init(
    directory: str | Path,
    annotations: Sequence[str | Path] = (),
    images: str | Path | None = None,
    dataset: str | None = None,
    *,
    dataset_csv: str | Path | None = None,
    folder_names: str | None = None,
    ready_made: bool = False,
    log: Log | None = None,
) -> Project:
    """Make a project, or add a dataset to one.

    The annotation files are read first: nothing is written if they cannot be used. They are copied into
    annotations/; images stay where they are.

    Args:
        directory: The project folder; made if it does not exist.
        annotations: Files or folders that describe the dataset's images, of any format that trapline reads; files of
            labels and of detections go together. Without any, the folders that images lie in name their labels.
        images: Folder that the exports' file names are relative to, or the URL that the images' keys are below (what
            is secret in it is not stored). Default: the images' own URLs, else images/<dataset> in the project. With
            an old dataset file the folder of its crops; without it the project can be split, not trained.
        dataset: Its name; default: the project folder's. A CSV names its datasets itself.
        dataset_csv: An old classification_ds.csv instead of exports.
        folder_names: Without annotations: what the folders of images name, outermost first ("location/label").
            Default: judged by which names come again.
        ready_made: The pictures are crops already; they are taken whole.

    Raises:
        InputError: A file cannot be used, the images are not there, or the dataset exists already.
    """
    log = log or Log()
    given = _recognised(annotations, dataset_csv, images, log)
    lists = [path for path, kind in given.items() if recognise.names_datasets(kind)]
    if lists and len(given) > 1:
        raise InputError(f"{lists[0].name} names its datasets itself: make a project of it alone.")
    if lists:
        return _from_list(lists[0], given[lists[0]], directory, images, dataset, log)
    layout = Layout(Path(directory).expanduser().resolve())
    name = dataset or _name(layout.root.name)
    url = str(images) if images and urls.is_url(str(images)) else None
    folder = Path(images).expanduser().resolve() if images and url is None else layout.images(name, None)
    known = project_file.read(layout.config).datasets if layout.config.exists() else {}
    if name in known:
        raise InputError(
            f"{layout.root} is a project with a dataset {name} already. Add another with --dataset NAME, or list newer "
            "exports under its `annotations:` in trapline.yaml."
        )
    sources = [path.resolve() for path in given] or [_listed(folder, folder_names, layout, name, log)]
    found = ingest([AnnotationFile(name, path, ready_made) for path in sources], IngestConfig(), log=log)
    if not found.boxes.height and found.labels.height:
        log.warn(
            f"none of the {found.labels.height} labels has a box, so there will be no crop. Run a detector "
            "(MegaDetector) on the images and give its JSON file beside the labels with --annotations; or, if the "
            "pictures are crops already, say --ready-made."
        )
    if images is None and not folder.is_dir():
        url = _own_urls(found.images)
    if url is None:
        fetch(found.images, {name: folder}, root=layout.root, log=log)
    else:
        _say_what_is_next(url, name, log)
    copies = [_copy(path, layout.root / "annotations", layout) for path in sources]
    place = urls.without_secrets(url) if url else layout.shorten(folder) if images else None
    source = DatasetSource(annotations=tuple(copies), images=place, ready_made=ready_made)
    if known:
        project_file.set_values(layout.config, "datasets", {name: source.model_dump(mode="json")})
    else:
        project_file.write_new(layout.config, ProjectConfig(datasets={name: source}))
    return Project(layout.root, log)


def _recognised(
    annotations: Sequence[str | Path], dataset_csv: str | Path | None, images: str | Path | None, log: Log
) -> dict[Path, str]:
    """Path -> format of every file that a project is made from; says so, for a wrong guess must not be missed."""
    if dataset_csv is not None and annotations:
        raise InputError(
            "a project is made from --annotations (exports) or from --dataset-csv (an old dataset file): give one."
        )
    if dataset_csv is None and not annotations and images is None:
        raise InputError(
            "a project is made from --annotations (exports), from --images whose folders name their labels, or from "
            "--dataset-csv (an old dataset file): give one."
        )
    if dataset_csv is None and not annotations and urls.is_url(str(images)):
        raise InputError("folders name labels only where the images lie on this disk; give --annotations.")
    given = {path: recognise.recognise(path) for path in (Path(name).expanduser() for name in annotations)}
    if dataset_csv is not None:
        given = {Path(dataset_csv).expanduser(): "classification-ds"}
    for path, kind in given.items():
        if kind == "folders":
            raise InputError(
                f"--annotations {path} is a folder of images. Where folders name the labels, give it as --images alone "
                f"(trapline init DIR --images {path}, with --folders location/label or so); else name the export."
            )
        log.note(f"{path.name}: {recognise.title(kind)}")
    return given


def _listed(folder: Path, folder_names: str | None, layout: Layout, dataset: str, log: Log) -> Path:
    """Write what folders name as a CSV, which is the project's annotation file from now on."""
    found = folders.read(folder, folder_names)
    for note in found.notes:
        log.note(note)
    rows = found.objects.select(source_id="image", label="source_label").join(found.images, on="source_id")
    target = layout.root / "annotations" / f"{dataset}.csv"
    told = [name for name in ("location", "camera", "deployment", "sequence") if rows[name].count()]
    tables.save_csv(target, rows.select("label", *told, path="file_name").select("path", "label", *told))
    return target


def _from_list(
    path: Path, kind: str, directory: str | Path, images: str | Path | None, dataset: str | None, log: Log
) -> Project:
    """A project from a file that names datasets itself; a splits.json beside it is copied too."""
    layout = Layout(Path(directory).expanduser().resolve())
    path = path.expanduser().resolve()
    names = recognise.datasets(path, kind)
    ready_made = kind == "classification-ds"
    if dataset is not None:
        raise InputError(f"--dataset does not go with {path.name}: it names its datasets ({', '.join(names)}).")
    if layout.config.exists():
        raise InputError(f"{layout.root} is a project already. Make another folder for {path.name}.")
    bad = [name for name in names if not re.fullmatch(DATASET_NAME, name)]
    if bad:
        raise InputError(
            f"{len(bad)} of {len(names)} dataset names cannot name folders (first: {bad[0]!r}). Rename them."
        )
    if images and urls.is_url(str(images)):
        raise InputError(
            f"--images with --dataset-csv is a folder of crops; {urls.without_secrets(str(images))} is none."
        )
    parent = Path(images).expanduser().resolve() if images else None
    below = parent is not None and (not ready_made or classification_csv.has_prefix(path))
    places = {name: (parent / name if below else parent) if parent else None for name in names}
    if not ready_made:
        places = {name: place or layout.images(name, None) for name, place in places.items()}
    found = ingest([AnnotationFile(name, path) for name in names], IngestConfig(), log=log)
    with_crops = {name: folder for name, folder in places.items() if folder is not None}
    with_crops = _present(with_crops, found.images, ready_made, log)
    if with_crops:
        fetch(found.images, with_crops, root=layout.root, log=log)
    copy = _copy(path, layout.root / "annotations", layout)
    sources = {
        name: DatasetSource(
            annotations=(copy,), images=layout.shorten(folder) if folder else None, ready_made=ready_made
        )
        for name, folder in {**dict.fromkeys(places), **with_crops}.items()
    }
    project_file.write_new(layout.config, ProjectConfig(datasets=sources))
    if (path.parent / "splits.json").exists():
        former = _copy(path.parent / "splits.json", layout.root / "annotations", layout)
        log.note(f"keep the former test set with: trapline split --match-test {former}; all of it with --match-splits")
    if not with_crops:
        log.note("no folder of crops was given: the project can be split, not trained (--images CROPS_DIR)")
    return Project(layout.root, log)


def _present(folders: dict[str, Path], images: pl.DataFrame, ready_made: bool, log: Log) -> dict[str, Path]:
    """The folders without those of datasets none of whose crops is there, unless that is so of all: then the folder
    that was given is wrong."""
    files = images.select("dataset", "file_name").filter(pl.col("dataset").is_in(list(folders))).iter_rows()
    there = {dataset for dataset, name in files if (folders[dataset] / name).is_file()}
    gone = sorted(set(folders) - there)
    if not ready_made or not there or not gone:
        return folders
    log.warn(f"none of the crops of {', '.join(gone)} is on disk: known by name only, enough to split, not to train.")
    return {name: folder for name, folder in folders.items() if name in there}


def _own_urls(images: pl.DataFrame) -> str | None:
    """Where images are fetched from that all bear a whole URL of their own (Camtrap DP): the first one's host."""
    named = images["uri"].drop_nulls()
    if named.len() < images.height or not all(urls.is_url(uri) for uri in named):
        return None
    return urls.split_url(urls.without_secrets(named[0]))[0]


def _say_what_is_next(url: str, dataset: str, log: Log) -> None:
    place = urls.without_secrets(url)
    log.note(f"the images are in {place}; `trapline fetch` brings them to images/{dataset}")
    if place != url:
        log.warn("what lets you in was taken out of the URL and is stored nowhere; docs/fetch.md says how to pass it.")
    if place.startswith("s3://"):
        log.note("credentials: trapline fetch --profile NAME --save, or --anonymous --save for a public bucket")


def _name(folder: str) -> str:
    """A dataset name from a folder's: what is not allowed in one becomes a dash."""
    cleaned = "".join(char if char.isascii() and (char.isalnum() or char in "._-") else "-" for char in folder)
    return cleaned.strip("-._") or "images"


def _copy(path: Path, folder: Path, layout: Layout) -> str:
    """Copy annotations into the project (unless they lie there already) and return their path in trapline.yaml."""
    path = path.parent if path.name == camtrap_dp.DESCRIPTOR else path
    if path.is_relative_to(layout.root):
        return layout.shorten(path)
    files = {file.relative_to(path): file for file in sorted(path.iterdir()) if file.is_file()} if path.is_dir() else {}
    files = files or {Path(): path}
    target = folder / path.name
    number = 2
    while not all(_is_free(target / inside, file) for inside, file in files.items()):
        target = folder / (f"{path.name}-{number}" if path.is_dir() else f"{path.stem}-{number}{path.suffix}")
        number += 1
    for inside, file in files.items():
        with open(file, "rb") as original:
            atomic.replace(target / inside, lambda stream, original=original: shutil.copyfileobj(original, stream))
    return layout.shorten(target)


def _is_free(target: Path, original: Path) -> bool:
    """Whether a file can be put there, or is there already."""
    return not target.exists() or target.read_bytes() == original.read_bytes()
