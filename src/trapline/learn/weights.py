"""Weights to start from, out of a file: trapline's checkpoints, timm's and torchvision's state dicts, the old chain's.

The old chain's `ckpt_N.pt` hold lukemelas' EfficientNet (package efficientnet-pytorch) or torchvision's ResNet. Their
tensors stand in the same order as those of timm's model of the same shape, and give the same outputs.
"""

import pickle
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import timm
import torch
from torch import nn

from trapline.core.errors import InputError
from trapline.learn import checkpoint, models
from trapline.learn.transforms import Transform

INSIDE = ("model", "state_dict", "model_state_dict", "net")  # where files that hold more keep the state dict
PREFIXES = ("module.", "_orig_mod.", "model.")  # left by DataParallel, torch.compile, Lightning
VARIANTS = range(8)  # EfficientNet b0 to b7
DIFFERENT_EPS = range(5, 8)  # torchvision's b5 to b7 normalise with another epsilon than timm's


@dataclass(frozen=True)
class Weights:
    """What a file of weights holds.

    Args:
        path: The file.
        kind: trapline, timm (also torchvision's ResNet), lukemelas or torchvision EfficientNet.
        tensors: State dict, in the file's order.
        labels: In the order of the outputs, where they are known.
        model: timm's name, where the file says it.
        transform: A trapline checkpoint's.
    """

    path: Path
    kind: str
    tensors: Mapping[str, torch.Tensor]
    labels: tuple[str, ...] | None = None
    model: str | None = None
    transform: Transform | None = None


def read(path: Path, labels: Sequence[str] | None = None) -> Weights:
    """Read a file of weights. Nothing in it is executed.

    Args:
        labels: Names of its outputs, where they are known and it does not hold them itself.

    Raises:
        InputError: No such file, or nothing in it that is known.
    """
    content = _content(path)
    if isinstance(content, dict) and content.get("format") == checkpoint.FORMAT:
        known = checkpoint.load(path)
        return Weights(path, "trapline", known.weights, known.labels, known.model, known.transform)
    tensors = _tensors(content)
    if not tensors:
        raise InputError(f"{path} holds no weights that trapline knows: no state dict of tensors. See docs/train.md.")
    return Weights(path, _kind(tensors), tensors, None if labels is None else tuple(labels))


def install(model: nn.Module, weights: Weights, name: str, labels: Sequence[str]) -> list[str]:
    """Put weights into a model: all of its body, and of its head the outputs of labels with the same name.

    Args:
        model: Of timm's `name`, with an output per label.

    Returns:
        The labels whose outputs were taken.

    Raises:
        InputError: They are of another model; says which one fits.
    """
    target = model.state_dict()
    head = {id(parameter) for parameter in models.classifier(model).parameters()}
    head_names = [key for key, parameter in model.named_parameters() if id(parameter) in head]
    source = _as_timm(weights, list(target))
    body = {key for key in target if key not in head_names}
    problem = _misfit({key: target[key] for key in body}, source) or _left_over(target, source)
    if problem is None and weights.model is not None and weights.model.partition(".")[0] != name.partition(".")[0]:
        problem = f"it is of {weights.model}"
    if problem is None and weights.kind in ("lukemelas", "torchvision") and name not in _names_of(weights.kind):
        problem = "its layers pad otherwise"
    if problem is not None:
        fits = _fitting(weights)
        remedy = f"Use --model {fits}." if fits else "Name the --model that it is of."
        raise InputError(f"{weights.path} does not hold weights of {name} ({problem}). {remedy}")
    with torch.no_grad():
        for key in body:
            target[key].copy_(source[key])
    return _install_head(target, head_names, source, weights, labels)


def _install_head(
    target: Mapping[str, torch.Tensor],
    names: Sequence[str],
    source: Mapping[str, torch.Tensor],
    weights: Weights,
    labels: Sequence[str],
) -> list[str]:
    outputs = next((len(source[key]) for key in names if key in source), 0)
    if weights.labels is None or not outputs:
        return []
    if len(weights.labels) != outputs:
        raise InputError(
            f"{weights.path} has {outputs} outputs, but its labels are {len(weights.labels)}: name the right "
            "label_index.json with --weights-labels."
        )
    places = {label: row for row, label in enumerate(weights.labels)}
    shared = [label for label in labels if label in places]
    mine = [labels.index(label) for label in shared]
    theirs = [places[label] for label in shared]
    usable = [key for key in names if key in source and source[key].shape[1:] == target[key].shape[1:]]
    with torch.no_grad():
        for key in usable:
            target[key][mine] = source[key][theirs].to(target[key].dtype)
    return shared if usable else []


def _content(path: Path) -> Any:
    if path.suffix == ".safetensors":
        try:
            return safetensors.torch.load_file(path)
        except FileNotFoundError:
            raise InputError(f"there is no file of weights {path}.") from None
        except (safetensors.SafetensorError, OSError, ValueError) as error:
            raise InputError(f"{path} is no safetensors file, or is damaged ({error}).") from None
    # The old chain's files hold figures as numpy's numbers.
    scalars = [np.dtype, *{type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8", "?")}]
    rebuild = [(np._core.multiarray.scalar, f"{home}.multiarray.scalar") for home in ("numpy.core", "numpy._core")]  # type: ignore[attr-defined]
    try:
        with torch.serialization.safe_globals([*scalars, *rebuild]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"there is no file of weights {path}.") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        reason = (str(error).splitlines() or [""])[0][:120]
        raise InputError(
            f"{path} cannot be read as weights ({type(error).__name__}: {reason}). A whole pickled model is not "
            "loaded, because it could run code: save its state_dict() with torch.save instead."
        ) from None


def _tensors(content: Any) -> dict[str, torch.Tensor]:
    """The state dict in what a file holds, under plain names; empty if there is none."""
    if not isinstance(content, Mapping):
        return {}
    for key in INSIDE:
        if isinstance(content.get(key), Mapping):
            return _tensors(content[key])
    tensors = {str(key): value for key, value in content.items() if isinstance(value, torch.Tensor)}
    for prefix in PREFIXES:
        if tensors and all(key.startswith(prefix) for key in tensors):
            tensors = {key.removeprefix(prefix): value for key, value in tensors.items()}
    return tensors


def _kind(tensors: Mapping[str, torch.Tensor]) -> str:
    if "_conv_stem.weight" in tensors:
        return "lukemelas"
    return "torchvision" if re.fullmatch(r"features\.0\.0\.weight", next(iter(tensors))) else "timm"


def _as_timm(weights: Weights, names: Sequence[str]) -> Mapping[str, torch.Tensor]:
    """Its tensors under timm's names."""
    if weights.kind in ("trapline", "timm"):
        return weights.tensors
    return dict(zip(names, weights.tensors.values(), strict=False))


def _misfit(target: Mapping[str, torch.Tensor], source: Mapping[str, torch.Tensor]) -> str | None:
    """Why tensors do not fill a model, or None."""
    missing = [key for key in target if key not in source]
    if missing:
        return f"{len(missing)} of {len(target)} tensors are missing, first {missing[0]}"
    other = [key for key in target if target[key].shape != source[key].shape]
    if other:
        key = other[0]
        shapes = f"{tuple(source[key].shape)} instead of {tuple(target[key].shape)}"
        return f"{len(other)} of {len(target)} tensors have another shape, first {key}: {shapes}"
    return None


def _left_over(target: Mapping[str, torch.Tensor], source: Mapping[str, torch.Tensor]) -> str | None:
    """Whether tensors have no place in a model: what it is, or None."""
    extra = [key for key in source if key not in target]
    return f"{len(extra)} of its {len(source)} tensors have no place, first {extra[0]}" if extra else None


def _names_of(kind: str) -> dict[str, int]:
    """timm's models that compute as another implementation's do, with the number of their variant."""
    if kind == "lukemelas":
        return {f"tf_efficientnet_b{n}": n for n in VARIANTS}
    return {f"efficientnet_b{n}": n for n in VARIANTS if n not in DIFFERENT_EPS}


def _fitting(weights: Weights) -> str | None:
    """A model of timm's that these weights fill."""
    if weights.model is not None:
        return weights.model
    names = list(_names_of(weights.kind)) if weights.kind != "timm" else ["resnet18", "resnet34", "resnet50"]
    names += ["resnet101", "resnet152"] if weights.kind == "timm" else []
    for name in names:
        with torch.device("meta"):
            target = timm.create_model(name).state_dict()
        body = {key: value for key, value in target.items() if not key.startswith(("fc.", "classifier."))}
        source = _as_timm(weights, list(target))
        if _misfit(body, source) is None and _left_over(target, source) is None:
            return name
    return None
