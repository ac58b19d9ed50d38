"""What is to be classified, in pieces of bounded size: images of a detector's results, of a folder, or ready crops."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import polars as pl

from trapline.core.errors import InputError
from trapline.core.log import Log
from trapline.core.new_images import NewImagesConfig
from trapline.core.pairing import kind_of
from trapline.core.paths import unsafe_reason
from trapline.core.urls import is_url
from trapline.formats.megadetector import VIDEO, detector_slug
from trapline.formats.megadetector_given import GivenResults, ListedBox
from trapline.io.pictures import pictures
from trapline.stages.classify import UNITS

PIECE_IMAGES = 1024
WIDE_PIECE_IMAGES = 65_536  # where many machines share a piece
WHOLE = (0.0, 0.0, 1.0, 1.0)
PLACES = {
    "file": pl.String,
    "location_id": pl.String,
    "sequence_id": pl.String,
    "stated": pl.String,  # when it was taken, as the detections file says
    "detector_failure": pl.String,
}


@dataclass(frozen=True)
class Piece:
    """Some images.

    Args:
        units: What is classified, a row per image (stages/classify: UNITS).
        places: What is said of the images (PLACES), in the same order.
        confs: (file, detection) -> the detector's confidence.
        records: The images as the detections file has them; None where there is none.
    """

    units: pl.DataFrame
    places: pl.DataFrame
    confs: dict[tuple[str, int], float | None]
    records: Sequence[dict[str, Any]] | None = None


class Given(Protocol):
    """A source of `n_images` images. `crop_suffix` ends the names of crops; None where images are not cropped."""

    n_images: int

    @property
    def crop_suffix(self) -> str | None: ...

    def pieces(self, images: int) -> Iterator[Piece]: ...


@dataclass
class Place:
    """Where images lie: a folder, or a URL whose objects are read by key."""

    where: str
    folder: Path | None = field(init=False)

    def __post_init__(self) -> None:
        self.folder = None if is_url(self.where) else Path(self.where)
        if self.folder is not None and not self.folder.is_dir():
            raise InputError(f"there is no folder {self.folder}. Name the one that the images lie in: --images DIR")

    def unit(self, file: str, boxes: Sequence[tuple[int, tuple | None]], *, ready: bool = False) -> dict[str, object]:
        """A row of UNITS.

        Args:
            boxes: Number and sides of each box.
        """
        failure, key, stamp = unsafe_reason(file), file, None
        if re.search(VIDEO, file):
            failure = "is a video: extract its frames first"
        if failure is None and self.folder is not None:
            key = (self.folder / file).as_posix()
            try:
                found = os.stat(key)
                stamp = f"{found.st_size}-{found.st_mtime_ns}"
            except (OSError, ValueError):
                failure = "file is missing"
        rows = [
            dict(zip(("detection", "box_x", "box_y", "box_w", "box_h"), (number, *(box or [None] * 4)), strict=True))
            for number, box in boxes
        ]
        return {"file": file, "key": key, "stamp": stamp, "ready": ready, "boxes": rows, "failure": failure}


class GivenDetections:
    """Images of a detector's results.

    Raises:
        InputError: The file cannot be used, a category is unknown, or none of its images is there.
    """

    def __init__(self, path: Path, place: Place, cfg: NewImagesConfig, labels: Sequence[str], log: Log):
        self.results = GivenResults(path)
        self._place = place
        there, first_missing, self.n_boxes = 0, None, 0
        for images in self.results.look():
            for image in images:
                self.n_boxes += len(image.boxes)
                if place.folder is None or unsafe_reason(image.file) is not None:
                    continue
                if os.path.exists(place.folder / image.file):
                    there += 1
                else:
                    first_missing = first_missing or image.file
        self.n_images = self.results.n_images
        if not self.n_images:
            raise InputError(f"{path} lists no image.")
        if place.folder is not None:
            if not there:
                raise InputError(_other_images(path, self.n_images, first_missing, place.folder))
            _tell_others(self.results, place.folder, log)
        _tell_oddities(self.results, log)
        self.least = cfg.min_conf if cfg.min_conf is not None else self.results.typical_threshold
        self._wanted = _wanted(self.results.categories, cfg.categories, labels)
        self.left_out = {"of other categories": 0, f"below confidence {self.least:g}": 0}

    @property
    def crop_suffix(self) -> str:
        return f"_{detector_slug(self.results.detector)}"

    def pieces(self, images: int) -> Iterator[Piece]:
        """So many images at a time, in the file's order. Counts what is left out, as it goes."""
        for records in self.results.records(images):
            units, places, confs = [], [], {}
            for image, _ in records:
                boxes = [box for box in image.boxes if self._keep(box)]
                units.append(self._place.unit(image.file, [(box.number, box.box) for box in boxes]))
                confs |= {(image.file, box.number): box.conf for box in boxes}
                places.append(
                    (
                        image.file,
                        image.location,
                        image.sequence,
                        image.captured,
                        None if image.failure is None else f"detector: {image.failure}",
                    )
                )
            yield Piece(
                pl.DataFrame(units, schema=UNITS),
                pl.DataFrame(places, schema=PLACES, orient="row"),
                confs,
                [record for _, record in records],
            )

    def _keep(self, box: ListedBox) -> bool:
        if box.category not in self._wanted:
            self.left_out["of other categories"] += 1
            return False
        if box.conf is not None and box.conf < self.least:
            self.left_out[f"below confidence {self.least:g}"] += 1
            return False
        return True


class GivenPictures:
    """Pictures of a folder: whole images, each taken as one box, or crops that are ready.

    Raises:
        InputError: There is none.
    """

    crop_suffix: str | None = None

    def __init__(self, place: Place, *, ready: bool):
        if place.folder is None:
            raise InputError("--images URL needs --detections md.json, which names the images below it.")
        self._place, self._ready = place, ready
        self._names = sorted(pictures(place.folder))
        self.n_images = len(self._names)
        if not self._names:
            raise InputError(f"there is no picture in {place.folder} or below it.")

    def pieces(self, images: int) -> Iterator[Piece]:
        """So many pictures at a time, by their names."""
        for start in range(0, len(self._names), images):
            names = self._names[start : start + images]
            units = [self._place.unit(name, [(0, None if self._ready else WHOLE)], ready=self._ready) for name in names]
            places = pl.DataFrame({"file": names}, schema_overrides=PLACES)
            places = places.with_columns(
                pl.lit(None, kind).alias(name) for name, kind in PLACES.items() if name != "file"
            )
            yield Piece(pl.DataFrame(units, schema=UNITS), places, {})


def _tell_others(results: GivenResults, folder: Path, log: Log) -> None:
    """Pictures that are there, but not in the file."""
    others, first = 0, None
    for name in pictures(folder):
        if not results.lists(name):
            others += 1
            first = first or name
    if others:
        log.warn(
            f"{others:,} pictures of {folder} are not in {results.path.name} (first: {first}): they are in no output. "
            "Detect in them too."
        )


def _tell_oddities(results: GivenResults, log: Log) -> None:
    if results.again:
        log.warn(f"{results.again:,} images are listed again in {results.path.name}; the first listing of each counts.")
    if results.classified:
        log.warn(
            f"{results.classified:,} boxes of {results.path.name} bear classifications already "
            f"({results.info.get('classifier') or 'by a classifier without a name'}): those of boxes that are "
            "classified now are replaced, the others stay."
        )


def _wanted(categories: dict[str, str], asked: Sequence[str], labels: Sequence[str]) -> set[str]:
    """Ids of the categories whose boxes are classified."""
    names = {name.strip().casefold() for name in categories.values()}
    strange = [name for name in asked if name.strip().casefold() not in names]
    if strange:
        raise InputError(
            f"no category of the detections is named {strange[0]!r}. There are: {', '.join(categories.values())}."
        )
    if asked:
        chosen = {name.strip().casefold() for name in asked}
        return {number for number, name in categories.items() if name.strip().casefold() in chosen}
    kinds = {kind_of(label) for label in labels}
    return {number for number, name in categories.items() if (kind := kind_of(name)) == "animal" or kind in kinds}


def _other_images(path: Path, n_images: int, first: str | None, folder: Path) -> str:
    """That the detections are of other images, with a guess where these are."""
    words = f"none of the {n_images:,} images of {path.name} is in {folder} (first: {first})."
    parts = (first or "").split("/")
    for n in range(1, len(parts)):
        if (folder / "/".join(parts[n:])).exists():
            above = folder.resolve()
            if above.parts[-n:] == tuple(parts[:n]):
                return f"{words} Its names begin further up: give --images {above.parents[n - 1]}."
            return f"{words} {'/'.join(parts[n:])} is there, without {'/'.join(parts[:n])} before it."
    for below in sorted(child for child in folder.iterdir() if child.is_dir())[:1000]:
        if first and (below / first).exists():
            return f"{words} It is in {below}: give --images {below}."
    return f"{words} Its names are relative to the folder that was detected in: name that with --images."
