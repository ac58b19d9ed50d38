"""The optimizer of a recipe, with its state made beforehand."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from trapline.core.recipes import Recipe
from trapline.learn.models import classifier

MOMENTS = 2  # tensors that either optimizer keeps of every trained parameter


def make(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The optimizer of a model's trained parameters.

    Its state is made now, all zero as it would be, so that no step needs memory that was not there before.
    """
    if recipe.optimizer == "rmsprop":  # source: Tan and Le 2019 (EfficientNet), as the old chain took it over
        optimizer = torch.optim.RMSprop(groups(model, recipe, one_decay=True), alpha=0.9, momentum=0.9)
        return prime(optimizer, "square_avg", "momentum_buffer")
    return prime(torch.optim.AdamW(groups(model, recipe), fused=True), "exp_avg", "exp_avg_sq")


def groups(model: nn.Module, recipe: Recipe, *, one_decay: bool = False) -> Iterator[dict[str, Any]]:
    """Parameter groups: the head, the backbone at its share of the rate, no decay of norms and biases.

    Each group keeps its peak rate as `peak_lr`, for the schedule.

    Args:
        one_decay: Norms and biases decay like all others.
    """
    head = {id(parameter) for parameter in classifier(model).parameters()}
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for is_head in (True, False):
        for decays in (True, False):
            chosen = [p for p in trained if (id(p) in head) == is_head and (p.ndim > 1) == decays]
            if chosen:
                peak = recipe.lr if is_head else recipe.lr * recipe.backbone_lr
                decay = recipe.weight_decay if decays or one_decay else 0.0
                yield {"params": chosen, "lr": peak, "peak_lr": peak, "weight_decay": decay}


def prime(optimizer: torch.optim.Optimizer, *moments: str) -> torch.optim.Optimizer:
    """Give every parameter its state at step 0."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            zeros = {name: torch.zeros_like(parameter) for name in moments}
            optimizer.state[parameter] = {"step": torch.zeros((), device=parameter.device), **zeros}
    return optimizer
