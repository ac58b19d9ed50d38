"""`trapline init`: a project folder from annotation files and a folder of images."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from trapline.core.config import DatasetSource, IngestConfig, ProjectConfig
from trapline.core.errors import InputError
from trapline.core.log import Log
from trapline.io import atomic, project_file
from trapline.io.layout import Layout
from trapline.project import Project
from trapline.stages.fetch import fetch
from trapline.stages.ingest import AnnotationFile, ingest


def init(
    directory: str | Path,
    annotations: Sequence[str | Path],
    images: str | Path | None = None,
    dataset: str | None = None,
    *,
    log: Log | None = None,
) -> Project:
    """Make a project, or add a dataset to one.

    The annotation files are read first: nothing is written if they cannot be used. They are copied into
    annotations/; images stay where they are.

    Args:
        directory: The project folder; made if it does not exist.
        annotations: Exports that describe the dataset's images.
        images: Folder that the exports' file names are relative to. Default: images/<dataset> in the project.
        dataset: Its name; default: the project folder's.

    Raises:
        InputError: A file cannot be used, the images are not there, or the dataset exists already.
    """
    log = log or Log()
    layout = Layout(Path(directory).expanduser().resolve())
    name = dataset or _name(layout.root.name)
    sources = [Path(path).expanduser().resolve() for path in annotations]
    folder = Path(images).expanduser().resolve() if images else layout.images(name, None)
    known = project_file.read(layout.config).datasets if layout.config.exists() else {}
    if name in known:
        raise InputError(
            f"{layout.root} is a project with a dataset {name} already. Add another with --dataset NAME, or list newer "
            "exports under its `annotations:` in trapline.yaml."
        )
    found = ingest([AnnotationFile(name, path) for path in sources], IngestConfig(), log=log)
    fetch(found.images, {name: folder}, root=layout.root, log=log)
    copies = [_copy(path, layout.root / "annotations", layout) for path in sources]
    source = DatasetSource(annotations=tuple(copies), images=layout.shorten(folder) if images else None)
    if known:
        project_file.set_values(layout.config, "datasets", {name: source.model_dump(mode="json")})
    else:
        project_file.write_new(layout.config, ProjectConfig(datasets={name: source}))
    return Project(layout.root, log)


def _name(folder: str) -> str:
    """A dataset name from a folder's: what is not allowed in one becomes a dash."""
    cleaned = "".join(char if char.isascii() and (char.isalnum() or char in "._-") else "-" for char in folder)
    return cleaned.strip("-._") or "images"


def _copy(path: Path, folder: Path, layout: Layout) -> str:
    """Copy an export into the project (unless it lies there already) and return its path in trapline.yaml."""
    if path.is_relative_to(layout.root):
        return layout.shorten(path)
    target = folder / path.name
    number = 2
    while target.exists() and target.read_bytes() != path.read_bytes():
        target = folder / f"{path.stem}-{number}{path.suffix}"
        number += 1

    def copy(stream) -> None:
        with open(path, "rb") as original:
            shutil.copyfileobj(original, stream)

    atomic.replace(target, copy)
    return layout.shorten(target)
