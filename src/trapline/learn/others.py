"""Classifiers that trapline did not train: TorchScript and ONNX files with their label list."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from trapline.core.errors import InputError
from trapline.learn.transforms import Transform

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SUM_ERROR = 1e-3


@dataclass(frozen=True)
class OtherClassifier:
    """A classifier as a file, and what the file does not say.

    Args:
        path: TorchScript (.pt, .pth, .torchscript) or ONNX (.onnx). It takes [n, 3, size, size] and gives [n, L].
        labels: L names in the order of its outputs.
        transform: From a crop to its input.
        probabilities: Its outputs are probabilities already; else they are logits, and softmax makes them so.
    """

    path: Path
    labels: Sequence[str]
    transform: Transform
    probabilities: bool = False
    multilabel: ClassVar[bool] = False  # each picture shows one of the labels

    def network(self) -> nn.Module:
        """The classifier, giving logits.

        Raises:
            InputError: The file is missing or not such a classifier, or gives another number of outputs than there are
                labels.
        """
        inner = _onnx(self.path) if self.path.suffix.casefold() == ".onnx" else _torchscript(self.path)
        size = self.transform.image_size
        try:
            with torch.no_grad():
                found = _first(inner(torch.zeros(1, 3, size, size)))
        except Exception as error:  # whatever a foreign model does with a picture of the wrong size
            words = (str(error).strip().splitlines() or [type(error).__name__])[-1]
            raise InputError(
                f"{self.path} does not take a picture of {size} x {size} pixels ({words[:200]}). Name the side that it "
                "was made for: --image-size N"
            ) from None
        if found.ndim != 2 or found.shape[1] != len(self.labels):
            raise InputError(
                f"{self.path} gives {' x '.join(str(n) for n in found.shape[1:])} outputs, but {len(self.labels):,} "
                "labels are listed. Name the label list that it was trained with: --label-index FILE"
            )
        sums_to_one = bool((found >= 0).all() and ((found.sum(1) - 1).abs() < SUM_ERROR).all())
        if sums_to_one and not self.probabilities:
            raise InputError(
                f"the outputs of {self.path} sum to 1: they are probabilities already, and a second softmax would "
                "flatten them. Say so: --probabilities"
            )
        if self.probabilities and not sums_to_one:
            raise InputError(
                f"the outputs of {self.path} do not sum to 1 (here {float(found.sum()):.3g}): they are no "
                "probabilities. Leave out --probabilities, and softmax makes them so."
            )
        return _Logits(inner, self.probabilities)


def _first(out: torch.Tensor | list | tuple) -> torch.Tensor:
    """The scores among a classifier's outputs: heads beside the first are features."""
    return out[0] if isinstance(out, list | tuple) else out


class _Logits(nn.Module):
    """Outputs as logits: of probabilities their logarithm, of which softmax gives them back."""

    def __init__(self, inner: nn.Module, probabilities: bool):
        super().__init__()
        self.inner = inner
        self.probabilities = probabilities

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        out = _first(self.inner(images))
        return out.float().clamp_min(1e-30).log() if self.probabilities else out


def _torchscript(path: Path) -> nn.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # TorchScript is deprecated; the field's files are not gone
            warnings.simplefilter("ignore", DeprecationWarning)
            return torch.jit.load(path, map_location="cpu").eval()
    except (RuntimeError, OSError, ValueError) as error:
        if not path.exists():
            raise InputError(f"there is no classifier {path}.") from None
        words = (str(error).strip().splitlines() or [""])[0]
        raise InputError(
            f"{path} is not a TorchScript file ({words[:120]}). A checkpoint of weights alone does not say what the "
            "model is: export it as TorchScript or ONNX first."
        ) from None


class _Session(nn.Module):
    """An ONNX model, run on the CPU."""

    def __init__(self, path: Path):
        super().__init__()
        import onnxruntime  # of the extra `onnx`

        self.session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0].name
        first = self.session.get_inputs()[0].shape[0]
        self.batch = first if isinstance(first, int) and first > 0 else None  # a model exported for one size of batch

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        pixels = np.ascontiguousarray(images.detach().cpu().float().numpy())
        step = self.batch or max(len(pixels), 1)
        outputs = []
        for start in range(0, len(pixels), step):
            part = pixels[start : start + step]
            filled = np.concatenate([part, np.zeros((step - len(part), *part.shape[1:]), part.dtype)])
            outputs.append(np.asarray(self.session.run(None, {self.input: filled})[0])[: len(part)])
        return torch.from_numpy(np.concatenate(outputs))


def _onnx(path: Path) -> nn.Module:
    if not path.exists():
        raise InputError(f"there is no classifier {path}.")
    try:
        return _Session(path)
    except ModuleNotFoundError:
        raise InputError("ONNX files need onnxruntime: pip install 'trapline[onnx]'") from None
    except Exception as error:  # onnxruntime's own exceptions share no base class but this
        words = (str(error).strip().splitlines() or [""])[0]
        raise InputError(f"{path} is not an ONNX file that can be run ({words[:160]}).") from None
