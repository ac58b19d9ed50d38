"""Photographs and boxes in, probabilities out: what an exported classifier answers, in this process."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from trapline.core.errors import InputError
from trapline.core.geometry import GivenBox
from trapline.formats.artifact import FILE, INPUT, KEY, OUTPUT, Artifact, from_json
from trapline.io.boxed import model_inputs, photo_inputs
from trapline.io.buffers import Buffers
from trapline.io.images import ImageFailure
from trapline.io.photo import Photo

DECODED_BYTES = 1_000_000_000  # of pixels in memory at a time
Network = Callable[[np.ndarray], np.ndarray]


class Answering:
    """An exported classifier made ready.

    Args:
        artifact: Its description.
        network: From uint8 [n, size, size, 3] to calibrated probabilities, float32 [n, labels].
    """

    def __init__(self, artifact: Artifact, network: Network, decoded_bytes: int = DECODED_BYTES):
        self.artifact, self.network = artifact, network
        self._transform = artifact.input
        self._buffers = Buffers(decoded_bytes)

    def inputs(self, data: bytes, boxes: Sequence[GivenBox]) -> list[np.ndarray | str]:
        """The network's inputs of a photograph's boxes; in place of one that cannot be had, why."""
        try:
            return model_inputs(data, boxes, self.artifact.crops, self._transform, self._buffers)
        except ImageFailure as failure:
            return [str(failure)] * len(boxes)

    def inputs_of(self, photo: Photo, boxes: Sequence[GivenBox]) -> list[np.ndarray | str]:
        """The same of a photograph that is open.

        Raises:
            ImageFailure: It cannot be decoded.
        """
        return photo_inputs(photo, boxes, self.artifact.crops, self._transform, self._buffers)

    def scores(self, pictures: Sequence[tuple[bytes, Sequence[GivenBox]]]) -> list[list[np.ndarray | str]]:
        """Probabilities of every box of photographs, float32 [labels]; in place of one that cannot be had, why."""
        loaded = [self.inputs(data, boxes) for data, boxes in pictures]
        good = [crop for crops in loaded for crop in crops if isinstance(crop, np.ndarray)]
        rows = iter(self.network(np.stack(good))) if good else iter(())
        return [[crop if isinstance(crop, str) else next(rows) for crop in crops] for crops in loaded]

    def answer(self, scores: np.ndarray) -> dict[str, float]:
        """Animl's answer: label -> probability."""
        return {label: float(value) for label, value in zip(self.artifact.labels, scores, strict=True)}

    def named(self, scores: np.ndarray) -> str | list[str] | None:
        """What needs no person: the likeliest label, or None where it stays below its threshold; of a classifier whose
        labels are scored by themselves, all that reach theirs."""
        likeliest = int(scores.argmax())
        asked = range(len(scores)) if self.artifact.multilabel else [likeliest]
        labels, least = self.artifact.labels, self.artifact.thresholds
        sure = [labels[k] for k in asked if (bound := least.get(labels[k])) is not None and scores[k] >= bound]
        return sure if self.artifact.multilabel else (sure[0] if sure else None)


def open_artifact(path: Path, threads: int = 0) -> Answering:
    """Open what `trapline export` wrote: an ONNX file (without torch), or a TorchScript file.

    Args:
        threads: That compute; 0 takes one per CPU core.

    Raises:
        InputError: It is neither, or what it needs is not installed.
    """
    if not path.is_file():
        raise InputError(f"there is no file {path}. `trapline export --to onnx` writes one.")
    if path.suffix == ".onnx":
        return _open_onnx(path, threads)
    if path.suffix == ".pt":
        return _open_torchscript(path)
    raise InputError(f"{path} is neither an .onnx nor a .pt file that `trapline export` wrote.")


def _open_onnx(path: Path, threads: int) -> Answering:
    try:
        import onnxruntime
    except ImportError:
        raise InputError("ONNX files need ONNX Runtime. Run `pip install onnxruntime`.") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no common type
        line = (str(error).splitlines() or [""])[0][:160]
        raise InputError(f"{path} is not an ONNX file, or is damaged ({line}). Export it again.") from None
    told = session.get_modelmeta().custom_metadata_map.get(KEY)
    if told is None:
        raise InputError(f"{path} is an ONNX file, but not one that `trapline export` wrote.")

    def network(crops: np.ndarray) -> np.ndarray:
        return np.asarray(session.run([OUTPUT], {INPUT: crops})[0])

    return Answering(from_json(told, path), network)


def _open_torchscript(path: Path) -> Answering:
    try:
        import torch
    except ImportError:
        raise InputError("TorchScript files need torch. Use --to onnx, or install torch.") from None
    extra: dict[str, str | bytes] = {FILE: ""}
    try:
        module = torch.jit.load(str(path), map_location="cpu", _extra_files=extra).eval()
    except (RuntimeError, ValueError) as error:
        line = (str(error).splitlines() or [""])[0][:160]
        raise InputError(f"{path} is not a TorchScript file that `trapline export` wrote ({line}).") from None

    def network(crops: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return module(torch.from_numpy(crops)).numpy()

    return Answering(from_json(extra[FILE], path), network)
