"""Which reader takes an annotation file: recognised by what is in it, never by its name alone."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from trapline.core.errors import InputError
from trapline.formats.annotations import Annotations

HEAD = TAIL = 1 << 16


@dataclass(frozen=True)
class Format:
    """An annotation format.

    Args:
        title: What to call it before a person.
        reader: "module:function" of the function path -> Annotations, looked up when it is needed.
        of_dataset: Whether the file names datasets itself; then the reader takes the one that is wanted too, and
            `datasets` is the function that lists them.
    """

    title: str
    reader: str
    of_dataset: bool = False
    datasets: str = ""


FORMATS = {
    "cct": Format("COCO Camera Traps JSON", "trapline.formats.cct:read"),
    "md": Format("MegaDetector results", "trapline.formats.megadetector:read_annotations"),
    "queried-images": Format(
        "queried_images.json of the old chain",
        "trapline.formats.queried_images:read",
        of_dataset=True,
        datasets="trapline.formats.queried_images:datasets",
    ),
    "classification-ds": Format(
        "classification_ds.csv, a list of ready-made crops",
        "trapline.formats.classification_csv:read",
        of_dataset=True,
        datasets="trapline.formats.classification_csv:datasets",
    ),
    "csv": Format("a CSV of images and labels", "trapline.formats.image_csv:read"),
    "camtrap-dp": Format("Camtrap DP package", "trapline.formats.camtrap_dp:read"),
    "folders": Format("folders of images, named after labels", "trapline.formats.folders:read"),
}
CORRECTIONS = "corrections"


def read(path: Path, dataset: str) -> Annotations:
    """Read an annotation file of any format.

    Args:
        dataset: Whose images are wanted, where the file lists several datasets (classification_ds.csv).

    Raises:
        InputError: It is missing or cannot be used; names the file and the place in it.
    """
    name = recognise(path)
    if name == CORRECTIONS:
        raise InputError(
            f"{path} holds corrections, not annotations. Put it into the project's folder as corrections.csv."
        )
    return read_as(name, path, dataset)


def read_as(name: str, path: Path, dataset: str) -> Annotations:
    """Read a file with the reader of a format.

    Raises:
        InputError: As `read`.
    """
    reader = _function(FORMATS[name].reader)
    return reader(path, dataset) if FORMATS[name].of_dataset else reader(path)


def title(name: str) -> str:
    """What to call a format that `recognise` returned before a person."""
    return "corrections of labels" if name == CORRECTIONS else FORMATS[name].title


def names_datasets(name: str) -> bool:
    """Whether files of a format that `recognise` returned name datasets themselves."""
    return name in FORMATS and FORMATS[name].of_dataset


def datasets(path: Path, name: str) -> list[str]:
    """The datasets that a file names, sorted; none where its format does not name any.

    Raises:
        InputError: As `read`.
    """
    return _function(FORMATS[name].datasets)(path) if FORMATS[name].datasets else []


def _function(named: str) -> Callable[..., Any]:
    module, function = named.split(":")
    return getattr(import_module(module), function)


def recognise(path: Path) -> str:
    """The format of a file or folder: a name of FORMATS, or "corrections".

    A JSON file is told by the keys near its beginning and end, a CSV by its header, a folder by its datapackage.json.
    The reader then checks every value: a wrong guess ends in an error that says what the file was taken for.

    Raises:
        InputError: It is missing, cannot be read, or looks like none of them.
    """
    from trapline.formats import camtrap_dp, classification_csv, image_csv

    try:
        if camtrap_dp.is_package(path):
            return "camtrap-dp"
        if path.is_dir():
            return "folders"
        with open(path, "rb") as stream:
            head = stream.read(HEAD)
            stream.seek(max(path.stat().st_size - TAIL, 0))
            tail = stream.read()
    except FileNotFoundError:
        raise InputError(f"annotation file {path} does not exist. Check the path.") from None
    except OSError as error:
        raise InputError(f"annotation file {path} cannot be read: {error.strerror or error}.") from None
    if re.match(rb"(\xef\xbb\xbf)?\s*[{\[]", head):
        return _json(head, tail)
    columns = image_csv.header(path)
    if set(classification_csv.REQUIRED) <= set(columns):
        return "classification-ds"
    if {"box_id", "action", "to"} <= set(columns):
        return CORRECTIONS
    if {"path", "label"} <= image_csv.columns(columns).keys():
        return "csv"
    if path.suffix.casefold() == ".csv":
        return "csv"  # whose reader says which columns it misses
    if path.suffix.casefold() == ".json":
        return "cct"  # whose reader says what is not JSON in it
    known = ", ".join(form.title for form in FORMATS.values())
    raise InputError(f"{path} is none of the formats that trapline reads: {known}.")


def _json(head: bytes, tail: bytes) -> str:
    """The format of a JSON file by its keys; a list of none is taken for the commonest."""
    keys = set(re.findall(rb'"([A-Za-z_]+)"\s*:', head + b"\n" + tail))
    if b"detection_categories" in keys or {b"file", b"detections"} <= keys:
        return "md"
    if keys & {b"categories", b"annotations", b"file_name", b"category_id"}:
        return "cct"
    if {b"dataset", b"location", b"label"} <= keys:
        return "queried-images"
    return "cct"
