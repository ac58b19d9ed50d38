"""What an exported classifier says of itself: the JSON inside an ONNX file, a TorchScript file or an archive.

It is all that turns a photograph and a box into a label and how sure it is, but for the network. It needs no torch.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from trapline.core.errors import InputError
from trapline.io import atomic
from trapline.io.model_input import Transform

KEY = "trapline"  # of ONNX's metadata_props
FILE = "trapline.json"  # in a TorchScript file or an archive
FORMAT_VERSION = 1
INPUT, OUTPUT = "crops", "probabilities"


class Crops(msgspec.Struct, frozen=True):
    """How training's crops were cut (CropConfig)."""

    style: str
    max_size: int
    quality: int
    truncated: str
    max_pixels: int


class Scaling(msgspec.Struct, frozen=True):
    """How scores become probabilities (core/calibration.py); the exported network has done it already."""

    method: str
    temperature: float
    scale: tuple[float, ...]
    offset: tuple[float, ...]
    reason: str | None = None


class Compared(msgspec.Struct, frozen=True):
    """How a quantised network answers beside the one that it was made of, on the run's crops of one split.

    Args:
        split: val, or test.
        crops: How many.
        macro_recall, macro_recall_before: Of the quantised network, and of the other one; None without a labelled crop.
        equal_answers: Share of crops with the same answer: the likeliest label, or the same set of several.
        largest_difference: Of a probability, of any label and crop.
    """

    split: str
    crops: int
    macro_recall: float | None
    macro_recall_before: float | None
    equal_answers: float
    largest_difference: float


class Quantized(msgspec.Struct, frozen=True):
    """How a network was quantised, and what that costs.

    Args:
        kind: int8.
        calibrated_on: Training crops that the ranges of its numbers were taken from.
        compared: On val and test, as far as there are crops of them.
    """

    kind: str
    calibrated_on: int
    compared: tuple[Compared, ...]


class Artifact(msgspec.Struct, frozen=True):
    """An exported classifier, but for its network.

    Args:
        labels: In the order of the outputs.
        transform: From a crop to the model's input (Transform.as_dict).
        crops: From a photograph and a box to a crop.
        multilabel: Each label is scored by itself.
        calibration: See Scaling.
        precision: What the thresholds aim at.
        thresholds: Per label, the least probability that needs no person; None where none is enough.
        run, model: Where it comes from; the architecture by timm's name.
        trained: How it was trained, as its checkpoint says.
        made_by: trapline's version.
        quantized: None where the network is as it was trained.
    """

    labels: tuple[str, ...]
    transform: dict[str, Any]
    crops: Crops
    multilabel: bool
    calibration: Scaling
    precision: float | None
    thresholds: dict[str, float | None]
    run: str
    model: str
    trained: dict[str, Any]
    made_by: str
    quantized: Quantized | None = None
    format: str = "trapline artifact"
    format_version: int = FORMAT_VERSION

    @property
    def input(self) -> Transform:
        """The transform."""
        return Transform.from_dict(self.transform)

    def to_json(self) -> str:
        """The same text for the same content."""
        return msgspec.json.format(msgspec.json.encode(self, order="sorted"), indent=1).decode() + "\n"

    def index_to_name(self) -> Mapping[str, str]:
        """TorchServe's index_to_name.json."""
        return {str(number): label for number, label in enumerate(self.labels)}


def from_json(text: str | bytes, where: str | Path) -> Artifact:
    """The inverse of `to_json`.

    Raises:
        InputError: It is not one, or a newer trapline's.
    """
    try:
        found = msgspec.json.decode(text, type=Artifact)
        size = found.input.image_size
    except (msgspec.DecodeError, TypeError, AttributeError) as error:
        raise InputError(f"{where} does not hold what trapline's export writes ({error}). Export it again.") from None
    if found.format_version > FORMAT_VERSION:
        raise InputError(f"{where} was exported by a newer trapline (format {found.format_version}). Upgrade trapline.")
    if not isinstance(size, int) or size < 1 or not found.labels:
        raise InputError(f"{where} holds no usable description of its input and labels. Export it again.")
    return found


def write_beside(folder: Path, artifact: Artifact) -> list[Path]:
    """Write index_to_name.json and the description into a folder; their paths."""
    names = msgspec.json.format(msgspec.json.encode(artifact.index_to_name()), indent=1).decode() + "\n"
    written = {folder / "index_to_name.json": names, folder / FILE: artifact.to_json()}
    for path, text in written.items():
        atomic.replace_text(path, text)
    return list(written)
