"""Images -> files: where each image's file lies on this disk. Local folders so far; nothing is copied or moved."""

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from trapline.core import schemas
from trapline.core.errors import InputError
from trapline.core.log import Log

MISSING = "not on disk"


def fetch(images: pl.DataFrame, folders: Mapping[str, Path], *, root: Path, log: Log) -> pl.DataFrame:
    """Find the file of every image below its dataset's folder, under `file_name`.

    Args:
        images: IMAGES rows.
        folders: Dataset -> folder of its full-size images, absolute or relative to `root`.

    Returns:
        FILES rows, one per image; `failure` where there is no such file. `checksum` stands for the content a later
        stage depends on: here the file's size and time of change.

    Raises:
        InputError: A dataset's folder does not exist, or holds none of its images.
    """
    absent = [f"{name}: {folder}" for name, folder in folders.items() if not (root / folder).is_dir()]
    if absent:
        raise InputError(
            "image folders are missing. Set `images:` of the dataset in trapline.yaml to where they lie.", absent
        )
    rows = []
    for (dataset,), group in images.group_by("dataset", maintain_order=True):
        folder = folders[str(dataset)]
        found = [_stat(root / folder / name) for name in group["file_name"]]
        rows.append(
            pl.DataFrame(
                {
                    "image_id": group["image_id"],
                    "path": [(folder / name).as_posix() for name in group["file_name"]],
                    "bytes": [size for size, _ in found],
                    "checksum": [stamp for _, stamp in found],
                    "failure": [None if size is not None else MISSING for size, _ in found],
                },
                schema=schemas.FILES.columns,
            )
        )
        if all(size is None for size, _ in found):
            raise InputError(_nothing_found(str(dataset), root / folder, group["file_name"][0], group.height))
    files = pl.concat(rows) if rows else schemas.FILES.empty()
    failed = files["failure"].count()
    log.account("images", images.height, "files", files.height - failed, {MISSING: failed})
    if failed:
        first = files.filter(pl.col("failure").is_not_null())["path"][0]
        log.warn(f"{failed} of {files.height} images are not on disk (first: {first}).")
    return files.sort("image_id")


def stamp(images: pl.DataFrame, folders: Mapping[str, Path], *, root: Path) -> list[str | None]:
    """What `fetch` would find, per image: changes when a file appears, changes or goes."""
    return [
        _stat(root / folders[dataset] / name)[1] for dataset, name in images.select("dataset", "file_name").iter_rows()
    ]


def _stat(path: Path) -> tuple[int | None, str | None]:
    try:
        stat = path.stat()
    except (OSError, ValueError):
        return None, None
    return stat.st_size, f"{stat.st_size}-{stat.st_mtime_ns}"


def _nothing_found(dataset: str, folder: Path, first: str, n: int) -> str:
    """The commonest mistake of a first hour: the folder is one level too high or too low. Guess and say so."""
    message = f"none of the {n} images of dataset {dataset} lies in {folder} (first looked for: {folder / first})."
    for above in (folder, *folder.parents[:2]):
        hit = next((path for path in _shallow(above) if (path / first).is_file()), None)
        if hit is not None:
            return f"{message} They seem to lie in {hit}: set `images: {hit}` in trapline.yaml."
    name = first.rsplit("/", 1)[-1]
    stray = next(iter(folder.rglob(name)), None) if name and not set(name) & set("*?[") else None
    if stray is not None:
        return f"{message} A file of that name is {stray}: the folders between differ from the export's file_name."
    return f"{message} Set `images:` in trapline.yaml to the folder that file_name is relative to."


def _shallow(folder: Path) -> list[Path]:
    """A folder and the folders right below it."""
    try:
        return [folder, *sorted(path for path in folder.iterdir() if path.is_dir())][:200]
    except OSError:
        return []
