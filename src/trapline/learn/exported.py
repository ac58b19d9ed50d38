"""A checkpoint's network as one graph, from crops to calibrated probabilities, and the formats it is written in.

The graph takes pixels as they are (uint8) and holds normalisation, softmax and calibration, so that nobody who runs it
can leave one out. The number of crops is free.
"""

import io
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trapline.core.calibration import FLOOR, Calibration
from trapline.core.errors import InputError
from trapline.io import atomic
from trapline.learn import objective
from trapline.learn.checkpoint import Checkpoint

OPSET = 17
TRACED = 2  # crops it is traced with: one would be taken for a constant


class Exported(nn.Module):
    """uint8 [n, size, size, 3] -> float32 [n, labels]: probabilities, calibrated where the run is."""

    mean: torch.Tensor
    std: torch.Tensor
    scale: torch.Tensor
    offset: torch.Tensor

    def __init__(self, known: Checkpoint, calibration: Calibration):
        super().__init__()
        self.network = known.network()
        self.multilabel = known.multilabel
        self.calibrated = calibration.method != "none"
        for name, values in (("mean", known.transform.mean), ("std", known.transform.std)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1) * 255)
        for name, values in (("scale", calibration.scale), ("offset", calibration.offset)):
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32))

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        """See the class."""
        images = (crops.permute(0, 3, 1, 2).float() - self.mean) / self.std
        found = objective.scores(self.network(images), multilabel=self.multilabel)
        if not self.calibrated:
            return found
        return (found.clamp_min(float(FLOOR)).log() * self.scale + self.offset).softmax(dim=1)


def example(known: Checkpoint) -> torch.Tensor:
    """Crops of noise to trace with."""
    size = known.transform.image_size
    random = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (TRACED, size, size, 3), dtype=torch.uint8, generator=random)


def write_torchscript(
    path: Path, known: Checkpoint, calibration: Calibration, extra: Mapping[str, str | bytes]
) -> None:
    """Write the graph as TorchScript.

    Args:
        extra: Files inside it (torch.jit.load's `_extra_files`).

    Raises:
        InputError: The model cannot be traced.
    """
    module = Exported(known, calibration).eval()
    buffer = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of tracing: the shapes it takes for constants are, but the number of crops
        traced = _refused(lambda: torch.jit.trace(module, example(known), check_trace=False), known.model)
        torch.jit.save(traced, buffer, _extra_files=dict(extra))
    atomic.replace(path, lambda stream: stream.write(buffer.getbuffer()))


def onnx_bytes(known: Checkpoint, calibration: Calibration, names: tuple[str, str]) -> bytes:
    """The graph as ONNX.

    Args:
        names: Of its input and its output.

    Raises:
        InputError: The model holds an operation that ONNX lacks.
    """
    module = Exported(known, calibration).eval()
    buffer = io.BytesIO()
    free = {name: {0: "n"} for name in names}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # this exporter is called the former one; the new one needs two more packages
        _refused(
            lambda: torch.onnx.export(
                module,
                (example(known),),
                buffer,  # type: ignore[arg-type] (that exporter takes streams)
                dynamo=False,
                opset_version=OPSET,
                input_names=[names[0]],
                output_names=[names[1]],
                dynamic_axes=free,
            ),
            known.model,
        )
    return buffer.getvalue()


def write_timm(folder: Path, known: Checkpoint, extra: Mapping[str, Any]) -> list[Path]:
    """Write a folder that timm.create_model("local-dir:FOLDER", pretrained=True) opens; its outputs are logits.

    Args:
        extra: Further entries of its config.json.
    """
    from safetensors.torch import save

    transform = known.transform
    config = {
        "architecture": known.model.partition(".")[0],
        "num_classes": len(known.labels),
        "label_names": list(known.labels),
        "pretrained_cfg": {
            "input_size": [3, transform.image_size, transform.image_size],
            "mean": list(transform.mean),
            "std": list(transform.std),
            "interpolation": transform.interpolation,
            "crop_pct": 1.0,
            "crop_mode": "border",
            "num_classes": len(known.labels),
        },
        **extra,
    }
    weights = save({name: tensor.contiguous() for name, tensor in known.network().state_dict().items()})
    atomic.replace(folder / "model.safetensors", lambda stream: stream.write(weights))
    atomic.replace_text(folder / "config.json", json.dumps(config, indent=1) + "\n")
    return [folder / "model.safetensors", folder / "config.json"]


def _refused(call: Any, model: str) -> Any:
    """The outcome of an exporter, whose many kinds of errors all say that it cannot."""
    try:
        return call()
    except (RuntimeError, TypeError, ValueError, torch.onnx.errors.OnnxExporterError) as error:
        line = (str(error).splitlines() or [type(error).__name__])[0][:160]
        raise InputError(f"{model} cannot be exported to this format: {line}. Try another with --to.") from None
