"""Checkpoints: enough to predict with, alone; and, for the last one, enough to go on as if nothing had happened."""

import io
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trapline.core.errors import InputError
from trapline.io import atomic
from trapline.learn.models import build
from trapline.learn.transforms import Transform

FORMAT = "trapline checkpoint"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Checkpoint:
    """What a model is, apart from how its training stands.

    Args:
        model: timm's name.
        labels: In the order of the model's outputs.
        transform: From a crop to the model's input.
        weights: State dict to predict with (the averaged weights).
        epoch: Epochs behind it; 0 is the probe.
        val_macro_recall: On val, None without val examples.
        multilabel: Each label is scored by itself; a crop may have several.
        trained: How it came about: the configuration, the data's fingerprint, versions. Plain values only.
    """

    model: str
    labels: tuple[str, ...]
    transform: Transform
    weights: Mapping[str, torch.Tensor]
    epoch: int = 0
    val_macro_recall: float | None = None
    multilabel: bool = False
    trained: Mapping[str, Any] = field(default_factory=dict)

    def network(self) -> nn.Module:
        """The model with these weights, in evaluation mode, on the CPU."""
        with torch.random.fork_rng(devices=[]):
            network = build(self.model, len(self.labels), pretrained=False)
        network.load_state_dict(dict(self.weights))
        return network.eval()


def save(path: Path, checkpoint: Checkpoint, state: Mapping[str, Any] | None = None) -> None:
    """Write a checkpoint, whole or not at all, and synced.

    Args:
        state: What going on needs beyond predicting: tensors and plain values.

    Raises:
        TraplineError: The disk is full or read-only; the previous checkpoint is untouched.
    """
    content = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "model": checkpoint.model,
        "labels": list(checkpoint.labels),
        "transform": checkpoint.transform.as_dict(),
        "weights": dict(checkpoint.weights),
        "epoch": checkpoint.epoch,
        "val_macro_recall": checkpoint.val_macro_recall,
        "multilabel": checkpoint.multilabel,
        "trained": dict(checkpoint.trained),
        "state": None if state is None else dict(state),
    }
    # Through memory: torch names a file's records after the file, so that equal checkpoints would differ in bytes.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    atomic.replace(path, lambda stream: stream.write(buffer.getbuffer()))


def load(path: Path) -> Checkpoint:
    """Read a checkpoint to predict with.

    Raises:
        InputError: No such file, or not a trapline checkpoint.
    """
    return load_with_state(path)[0]


def load_with_state(path: Path) -> tuple[Checkpoint, dict[str, Any] | None]:
    """Read a checkpoint and what going on with its training needs (None if it was saved without).

    Nothing in the file is executed (torch's `weights_only`).

    Raises:
        InputError: No such file, or not a trapline checkpoint.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"there is no checkpoint {path}.") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise InputError(f"{path} is not a trapline checkpoint, or is damaged ({type(error).__name__}).") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(f"{path} is a torch file, but not a trapline checkpoint.")
    if content["format_version"] > FORMAT_VERSION:
        raise InputError(
            f"{path} was written by a newer trapline (format {content['format_version']}). Upgrade trapline."
        )
    checkpoint = Checkpoint(
        model=content["model"],
        labels=tuple(content["labels"]),
        transform=Transform.from_dict(content["transform"]),
        weights=content["weights"],
        epoch=content["epoch"],
        val_macro_recall=content["val_macro_recall"],
        multilabel=content.get("multilabel", False),
        trained=content["trained"],
    )
    return checkpoint, content["state"]
