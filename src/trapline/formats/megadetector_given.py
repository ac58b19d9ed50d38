"""A MegaDetector results file that is to be completed: looked through once, then read image by image, nothing lost."""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from trapline.core.errors import InputError
from trapline.formats.json_file import Pieces
from trapline.formats.megadetector import HINT, TYPICAL_THRESHOLD, forward

NAME = "a MegaDetector results file"
IMAGES = "images"


class _Detection(msgspec.Struct, gc=False):
    category: str | int
    conf: float | None = None
    bbox: list[float] | None = None
    classifications: list[tuple[str | int, float | None]] | None = None


class _Image(msgspec.Struct, gc=False):
    file: str
    detections: list[_Detection] | None = None
    failure: str | None = None
    location: str | int | None = None
    datetime: str | None = None
    seq_id: str | int | None = None


class _Every(dict):
    """Decoders of top-level arrays, in which none is to be skipped: what a file holds beside its images is kept."""

    def __contains__(self, key: object) -> bool:
        return True


@dataclass
class GivenResults:
    """What a results file says beside its images, and how many of these there are.

    Args:
        path: The file.
        values: Its top level but for the images, as text; in its order, in which `images` stands for itself.
        n_images: Images that are listed, each once.
        again: Images that are listed again; only the first listing counts.
        classified: Boxes that bear classifications already.
    """

    path: Path
    values: dict[str, bytes] = field(default_factory=dict)
    n_images: int = 0
    again: int = 0
    classified: int = 0
    _names: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))  # their hashes, sorted
    _again: frozenset[int] = frozenset()  # hashes of those that come again

    def look(self) -> Iterator[list["ListedImage"]]:
        """Look through the file once, and note what it says; yields its images, so that others may look too.

        Raises:
            InputError: It is missing, not JSON, cut off, or not MegaDetector results.
        """
        pieces = self._pieces(msgspec.json.Decoder(list[_Image]))
        arrays: dict[str, list[bytes]] = {}
        names = array("q")
        for key, piece in pieces:
            if key == IMAGES:
                self.values.setdefault(IMAGES, b"")
                listed = [_listed(image) for image in piece]
                names.extend(hash(image.file) for image in listed)
                self.classified += sum(bool(box.classifications) for image in piece for box in image.detections or ())
                yield listed
            elif isinstance(piece, list):
                arrays.setdefault(key, []).extend(bytes(value) for value in piece)
                self.values[key] = b"[" + b",".join(arrays[key]) + b"]"
            else:
                self.values[key] = bytes(piece)
        found, counts = np.unique(np.frombuffer(names, np.int64), return_counts=True)
        self.n_images, self.again = len(found), len(names) - len(found)
        self._names = found
        self._again = frozenset(found[counts > 1].tolist())
        if pieces.cut:
            raise pieces.unexpected(f"it ends too early, in {pieces.cut}; mend it first, or detect again")
        for key in ("detection_categories", IMAGES):
            if key not in self.values:
                raise pieces.unexpected(f"Object missing required field `{key}`")
        self._check()

    def records(self, most: int) -> Iterator[list[tuple["ListedImage", dict[str, Any]]]]:
        """The images in their order, at most so many at a time: what they say, and all they say. Each once."""
        seen: set[int] = set()
        waiting: list[tuple[ListedImage, dict[str, Any]]] = []
        typed, anything = msgspec.json.Decoder(_Image), msgspec.json.Decoder(dict[str, Any])
        for key, piece in self._pieces(msgspec.json.Decoder(list[msgspec.Raw])):
            if key != IMAGES:
                continue
            for raw in piece:
                image = _listed(typed.decode(raw))
                if (name := hash(image.file)) in self._again:
                    if name in seen:
                        continue
                    seen.add(name)
                waiting.append((image, anything.decode(raw)))
                if len(waiting) == most:
                    yield waiting
                    waiting = []
        if waiting:
            yield waiting

    def lists(self, name: str) -> bool:
        """Whether an image of that name is in the file (once it was looked through)."""
        at = int(np.searchsorted(self._names, hash(name)))
        return at < len(self._names) and int(self._names[at]) == hash(name)

    def _pieces(self, images: msgspec.json.Decoder[list[Any]]) -> Pieces:
        return Pieces(self.path, _Every({IMAGES: images}), {}, NAME, HINT, brief=False)

    def _check(self) -> None:
        try:
            msgspec.json.decode(self.values["detection_categories"], type=dict[str, str])
            msgspec.json.decode(self.values.get("classification_categories", b"{}"), type=dict[str, str] | None)
            msgspec.json.decode(self.values.get("info", b"{}"), type=dict[str, Any] | None)
        except msgspec.ValidationError as error:
            raise InputError(f"{self.path} is not {NAME}: {error}. {HINT}") from None

    @property
    def info(self) -> dict[str, Any]:
        return msgspec.json.decode(self.values.get("info", b"{}")) or {}

    @property
    def categories(self) -> dict[str, str]:
        """Detection category id -> name."""
        return msgspec.json.decode(self.values["detection_categories"])

    @property
    def classes(self) -> dict[str, str]:
        """Classification category id -> name, of those it has already."""
        return msgspec.json.decode(self.values.get("classification_categories", b"{}")) or {}

    @property
    def typical_threshold(self) -> float:
        """The detection confidence that the file calls typical; else what MegaDetector's authors do."""
        facts = self.info.get("detector_metadata")
        found = facts.get("typical_detection_threshold") if isinstance(facts, dict) else None
        return float(found) if isinstance(found, int | float) else TYPICAL_THRESHOLD

    @property
    def detector(self) -> str:
        found = self.info.get("detector")
        return found.strip() if isinstance(found, str) else ""


@dataclass(frozen=True)
class ListedBox:
    """A detection: its number among its image's, and what is said of it; no box where there is none of four numbers."""

    number: int
    category: str
    conf: float | None
    box: tuple[float, float, float, float] | None


@dataclass(frozen=True)
class ListedImage:
    """An image of a results file; `file` with forward slashes."""

    file: str
    boxes: Sequence[ListedBox]
    failure: str | None
    location: str | None
    captured: str | None
    sequence: str | None


def _listed(image: _Image) -> ListedImage:
    boxes = tuple(
        ListedBox(n, str(found.category), found.conf, _four(found.bbox))
        for n, found in enumerate(image.detections or ())
    )
    return ListedImage(
        forward(image.file), boxes, image.failure, _text(image.location), image.datetime, _text(image.seq_id)
    )


def _four(box: list[float] | None) -> tuple[float, float, float, float] | None:
    return (box[0], box[1], box[2], box[3]) if box is not None and len(box) == 4 else None


def _text(value: str | int | None) -> str | None:
    return None if value is None or value == "" else str(value)
