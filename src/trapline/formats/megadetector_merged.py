"""MegaDetector results with classifications, written image by image: a given file completed, or a new one.

Whatever a given file holds is in the new one, in its order; only `info`, `classification_categories` and the
classifications of boxes that were classified change.
"""

from collections.abc import Mapping, Sequence
from typing import IO, Any

import msgspec
import numpy as np

from trapline.core.metrics import Floats
from trapline.formats.megadetector_file import CATEGORIES, VERSION
from trapline.formats.megadetector_given import IMAGES, GivenResults

LEAST = 0.01  # probability of a label to be listed; the likeliest always is
DIGITS = 5
TYPICAL = 0.5  # least confidence of a classification that viewers show, where the run knows none of its own


class MergedFile:
    """Writes one file into a stream.

    Args:
        labels: L labels of the scores.
        given: The file that is completed; None for a new one.
        classifier: What the file calls the classifier.
        completed: When classification ended, as text.
        typical: The classification confidence that viewers show.
        detector: Of a new file.
    """

    def __init__(
        self,
        stream: IO[bytes],
        labels: Sequence[str],
        given: GivenResults | None,
        *,
        classifier: str,
        completed: str,
        typical: float = TYPICAL,
        detector: str = "",
    ):
        self._stream, self._labels = stream, list(labels)
        self._ids = _ids(labels, given.classes if given is not None else {})
        self._first = True
        info = given.info if given is not None else {"detector": detector}
        version = info.get("format_version")
        metadata = info.get("classifier_metadata")
        info |= {
            "format_version": version if _is_later(version) else VERSION,
            "classifier": classifier,
            "classifier_metadata": {
                **(metadata if isinstance(metadata, dict) else {}),
                "typical_classification_threshold": typical,
            },
            "classification_completion_time": completed,
        }
        known = {number: name for name, number in self._ids.items()}
        classes = {**(given.classes if given is not None else {}), **known}
        values = dict(given.values) if given is not None else {"detection_categories": _json(CATEGORIES), IMAGES: b""}
        changed = {"info": _json(info), "classification_categories": _json(classes)}
        order = list(values)
        if "info" not in values:
            order.insert(0, "info")
        if "classification_categories" not in values:
            order.insert(order.index(IMAGES), "classification_categories")
        values |= changed
        at = order.index(IMAGES)
        self._after = [(key, values[key]) for key in order[at + 1 :]]
        stream.write(b"{")
        for key in order[:at]:
            stream.write(b"\n %s: %s," % (_json(key), values[key]))
        stream.write(b"\n %s: [" % _json(IMAGES))

    def add(self, image: Mapping[str, Any], scored: Mapping[int, Floats], failure: str | None = None) -> None:
        """Write an image.

        Args:
            image: As the given file has it.
            scored: Of its detections, by number: probabilities of all labels.
            failure: Why it could not be classified.
        """
        image = dict(image)
        if image.get("detections"):
            image["detections"] = [self._detection(box, scored.get(n)) for n, box in enumerate(image["detections"])]
        if failure is not None:
            image["classification_failure"] = failure
        self._stream.write(b"\n  " if self._first else b",\n  ")
        self._stream.write(_json(image))
        self._first = False

    def close(self) -> None:
        """Write what follows the images."""
        self._stream.write(b"\n ]")
        for key, value in self._after:
            self._stream.write(b",\n %s: %s" % (_json(key), value))
        self._stream.write(b"\n}\n")

    def _detection(self, box: Mapping[str, Any], scores: Floats | None) -> dict[str, Any]:
        box = dict(box)
        if isinstance(box.get("conf"), int):
            box["conf"] = float(box["conf"])  # the format wants it so
        if scores is not None:
            order = np.argsort(-scores, kind="stable")
            kept = [n for n in order.tolist() if scores[n] >= LEAST] or order[:1].tolist()
            box["classifications"] = [[self._ids[self._labels[n]], round(float(scores[n]), DIGITS)] for n in kept]
        return box


def _ids(labels: Sequence[str], classes: Mapping[str, str]) -> dict[str, str]:
    """Label -> category id: the one that the file has for that name, else the next number that is free."""
    known = {name: number for number, name in reversed(list(classes.items()))}
    free = (str(n) for n in range(len(labels) + len(classes)) if str(n) not in classes)
    return {label: known.get(label) or next(free) for label in labels}


def _is_later(version: object) -> bool:
    """Whether a version is a text after the one that is written."""
    try:
        return isinstance(version, str) and float(version) > float(VERSION)
    except ValueError:
        return False


def _json(value: object) -> bytes:
    return msgspec.json.encode(value)
