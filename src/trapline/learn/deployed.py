"""A checkpoint made ready for new pictures: as fast as this machine allows, and with what features say beside scores.

Validation and a project's own predictions go through the checkpoint's network as it was trained, bit for bit the same
every time. New pictures go through this: normalisation layers folded into the convolutions before them, channels last,
and bfloat16 where the CPU multiplies in it (`arithmetic`), but for crops that are close between two labels. How much
faster, and how equal: docs/log.md.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from trapline.learn import device as devices
from trapline.learn import objective
from trapline.learn.checkpoint import Checkpoint
from trapline.learn.folding import fold_norms
from trapline.learn.models import n_features
from trapline.learn.neighbours import Neighbours
from trapline.learn.transforms import to_input

DOUBT = 0.1
"""Probability between the two likeliest labels below which a crop is computed again in single precision: half precision
could have named the other one."""

Extra = Callable[[torch.Tensor], torch.Tensor]


def arithmetic(device: torch.device, asked: str = "auto") -> torch.dtype | None:
    """The half precision that convolutions are computed in, or None for single precision.

    auto: on a GPU as training has it. On a CPU bfloat16 where it has instructions that multiply in it (AVX512_BF16 or
    AMX; without, it is emulated and slower).
    """
    if asked == "fp32" or device.type == "mps":
        return None
    if device.type == "cuda":
        return devices.half(device)
    multiplies = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if multiplies or asked == "bf16" else None


class Deployed:
    """Scores of pictures, [n, labels] and further columns.

    Args:
        known: The checkpoint.
        extra: From features, float [n, n_features], to further columns, [n, ...].
        precision: auto, bf16 or fp32 (see `arithmetic`).
    """

    def __init__(self, known: Checkpoint, device: torch.device, extra: Extra | None = None, *, precision: str = "auto"):
        self.labels, self.transform, self.device = known.labels, known.transform, device
        self.half = arithmetic(device, precision)
        self.extra = extra
        self._multilabel = known.multilabel
        size = known.transform.image_size
        network = fold_norms(known.network(), torch.zeros(1, 3, size, size))
        self.width = n_features(network)
        self._network: Any = network.to(memory_format=torch.channels_last).to(device)

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Of crops, uint8 [n, size, size, 3]: probabilities, and what `extra` makes of their features; float32."""
        found = self._values(pixels, self.half)
        if self.half is not None and len(self.labels) > 1:
            scores = np.partition(found[:, : len(self.labels)], -2, axis=1)
            doubtful = np.flatnonzero(scores[:, -1] - scores[:, -2] < DOUBT)
            if len(doubtful):
                found[doubtful] = self._values(pixels[doubtful], None)
        return found

    def features(self, pixels: np.ndarray) -> np.ndarray:
        """What the last layer sees of crops, float32 [n, n_features]."""
        with torch.inference_mode():
            return self._run(pixels, self.half)[0].cpu().numpy()

    def _values(self, pixels: np.ndarray, half: torch.dtype | None) -> np.ndarray:
        with torch.inference_mode():
            pooled, outputs = self._run(pixels, half)
            found = objective.scores(outputs, multilabel=self._multilabel)
            if self.extra is not None:
                found = torch.cat([found, self.extra(pooled)], dim=1)
            return found.cpu().numpy()

    def _run(self, pixels: np.ndarray, half: torch.dtype | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Features and outputs, in single precision."""
        images = to_input(pixels, self.transform, self.device)
        with torch.autocast(self.device.type, dtype=half or torch.bfloat16, enabled=half is not None):
            maps = self._network.forward_features(images)
        # Pooling and the last layer take no time, and their rounding would show in the scores.
        maps = maps.float()
        head = self._network.forward_head
        return head(maps, pre_logits=True), head(maps)


class DeployedOnce:
    """Makes a Deployed when it is first called, and gives the same one from then on; pickled, it is unmade.

    Args:
        device: As devices.resolve takes it, in the process that makes it.
        features: Of training crops; with them there is a further column (`compared_with`).
    """

    def __init__(self, known: Checkpoint, device: str, precision: str, features: np.ndarray | None = None):
        self._args = (known, device, precision, features)
        self._made: Deployed | None = None

    def __call__(self) -> Deployed:
        if self._made is None:
            known, device, precision, features = self._args
            where = devices.resolve(device)
            extra = None if features is None else Neighbours(features, where)
            self._made = Deployed(known, where, extra, precision=precision)
        return self._made

    def compared_with(self, features: np.ndarray) -> "DeployedOnce":
        """The same with a further column: the distance to the nearest of training features, float32 [n, width]."""
        if self._made is not None:
            self._made.extra = Neighbours(features, self._made.device)
        other = DeployedOnce(*self._args[:3], features)
        other._made = self._made
        return other

    def __reduce__(self):
        return DeployedOnce, self._args
