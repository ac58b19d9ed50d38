"""What a step's number decides: the learning rate, and the averaging of weights."""

import copy
import math
from typing import Literal

import torch
from torch import nn

WARM_UP = 0.1  # share of all steps over which the rate rises


DECAY, DECAY_EPOCHS = 0.97, 2.4


def lr_factor(kind: Literal["cosine", "decay"], step: int, total: int, per_epoch: int) -> float:
    """Share of the peak rate at `step` (from 0) of `total`, in epochs of `per_epoch` steps.

    cosine: a linear rise, then a half cosine to nearly zero. decay: times 0.97 every 2.4 epochs, changed after each.

    Source: Loshchilov and Hutter 2017 (SGDR) without restarts; linear warm-up of Goyal et al. 2017. The decay: Tan and
    Le 2019 (EfficientNet).
    """
    if kind == "decay":
        return DECAY ** (step // per_epoch / DECAY_EPOCHS)
    rise = max(round(WARM_UP * total), 1)
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(total - rise, 1)))


def averaging_decay(step: int, per_epoch: int) -> float:
    """How much of the average stays after `step` (from 0) steps: up to a memory of about two epochs.

    Source: the warm-up (1 + t) / (10 + t) of TensorFlow's ExponentialMovingAverage, which lets an average of few
    steps follow.
    """
    return min((1 + step) / (10 + step), 1 - 1 / (2 * per_epoch + 1), 0.9998)


class Average:
    """Exponential moving average of a model's weights and BatchNorm statistics, itself a model to evaluate."""

    def __init__(self, model: nn.Module):
        self.model = copy.deepcopy(model).requires_grad_(False).eval()
        mine, theirs = self.model.state_dict(), model.state_dict()
        float_names = [name for name, value in mine.items() if value.is_floating_point()]
        others = [name for name in mine if name not in set(float_names)]
        # The tensors of a state dict are the model's own: looked up once, moved together at every step.
        self._floats = [mine[name] for name in float_names], [theirs[name] for name in float_names]
        self._counters = [(mine[name], theirs[name]) for name in others]

    @torch.no_grad()
    def update(self, decay: float) -> None:
        """Move the average towards the model by 1 - `decay`; counters are copied."""
        torch._foreach_lerp_(*self._floats, 1 - decay)  # pyright: ignore[reportPrivateImportUsage]
        for mine, theirs in self._counters:
            mine.copy_(theirs)
