"""What there is of the old chain below a folder: exports, images, crops, and the files of its BASE_LOGDIR."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trapline.core.errors import InputError
from trapline.formats import classification_csv, queried_images, recognise

QUERIED, LISTED, INDEX, SPLITS = "queried_images.json", "classification_ds.csv", "label_index.json", "splits.json"
DEEPEST = 5  # BASE/CameraTraps/classification/BASE_LOGDIR/LOGDIR
SUFFIXES = ("_cct", "_md", "_md-format", "_coco")  # what the old guide has people add to a dataset's name
SKIPPED = {"node_modules", "site-packages", "__pycache__", "conda-meta"}


@dataclass(frozen=True)
class OldTree:
    """A tree of the old chain.

    Args:
        base: The folder that was looked through.
        exports, converted: Dataset -> its export (`_cct.json`), and what cct_to_md or a detector made (`_md.json`).
        images, crops: The folders that hold one folder per dataset, or None.
        logdir: The BASE_LOGDIR, or None; `others` are more of them, older ones.
        checkpoints: Files of trained models.
    """

    base: Path
    exports: dict[str, Path]
    converted: dict[str, Path]
    images: Path | None
    crops: Path | None
    logdir: Path | None
    others: tuple[Path, ...]
    checkpoints: tuple[Path, ...]

    def file(self, name: str) -> Path | None:
        """A file of BASE_LOGDIR, or None."""
        path = self.logdir / name if self.logdir else None
        return path if path is not None and path.is_file() else None


def find(base: Path) -> OldTree:
    """Look through a folder for what the old chain left.

    Raises:
        InputError: It is no folder, or holds nothing of the old chain (says what was looked for).
    """
    if not base.is_dir():
        raise InputError(f"--from-old: {base} is not a folder. Name the one above mdcache, images, crops, BASE_LOGDIR.")
    logdirs: list[Path] = []
    checkpoints: list[Path] = []
    annotations: list[Path] = []
    named: dict[str, list[Path]] = {"images": [], "crops": []}
    for folder, files in _walk(base):
        if folder.name.casefold() in named:
            named[folder.name.casefold()].append(folder)
        if {QUERIED, LISTED} & set(files):
            logdirs.append(folder)
        checkpoints += [folder / name for name in files if name.startswith("ckpt_") and name.endswith(".pt")]
        cached = folder.parent.name == "mdcache" or folder.name == "mdcache"
        annotations += [folder / name for name in files if name.endswith("_cct.json" if not cached else ".json")]
    logdirs.sort(key=lambda path: max((path / name).stat().st_mtime for name in os.listdir(path)), reverse=True)
    exports, converted = _by_dataset(annotations)
    logdir = logdirs[0] if logdirs else None
    datasets = {*exports, *converted, *_listed(logdir)}
    tree = OldTree(
        base,
        exports,
        converted,
        _holding(named["images"], datasets),
        _holding(named["crops"], datasets),
        logdir,
        tuple(logdirs[1:]),
        tuple(sorted(checkpoints)),
    )
    if not datasets:
        raise InputError(
            f"{base} holds nothing of the old chain: no mdcache/*/*.json, no *_cct.json, no {QUERIED} and no {LISTED} "
            f"in it or {DEEPEST} folders down. Name the folder above them, or make a project with --annotations."
        )
    return tree


def _walk(base: Path) -> Iterator[tuple[Path, list[str]]]:
    """Folders from the top down with the names of their files; what is inside images and crops is not looked at."""
    for place, folders, files in os.walk(base):
        folder = Path(place)
        deep = len(folder.relative_to(base).parts)
        is_picture_folder = deep and folder.name.casefold() in ("images", "crops")
        keep = [] if is_picture_folder or deep >= DEEPEST else sorted(folders)
        folders[:] = [name for name in keep if not name.startswith(".") and name not in SKIPPED]
        yield folder, sorted(files)


def _by_dataset(paths: list[Path]) -> tuple[dict[str, Path], dict[str, Path]]:
    """Dataset -> export, dataset -> MegaDetector results; of several of a dataset the one of the last folder."""
    found: dict[str, dict[str, Path]] = {"cct": {}, "md": {}}
    for path in sorted(paths):
        try:
            kind = recognise.recognise(path)
        except InputError:
            continue
        if kind in found:
            suffix = next((suffix for suffix in SUFFIXES if path.stem.endswith(suffix)), "")
            found[kind][path.stem.removesuffix(suffix)] = path
    return found["cct"], found["md"]


def _listed(logdir: Path | None) -> list[str]:
    """The datasets that the files of BASE_LOGDIR name."""
    if logdir is None:
        return []
    names: list[str] = []
    if (logdir / LISTED).is_file():
        names += classification_csv.datasets(logdir / LISTED)
    if (logdir / QUERIED).is_file():
        names += queried_images.datasets(logdir / QUERIED)
    return names


def _holding(folders: list[Path], datasets: set[str]) -> Path | None:
    """The uppermost of some folders with a folder of a dataset in it: a repository's own `images` has none."""
    ordered = sorted(folders, key=lambda path: (len(path.parts), path))
    return next((folder for folder in ordered if any((folder / name).is_dir() for name in datasets)), None)
