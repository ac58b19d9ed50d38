"""The classifier that training starts with: rows of `weights` by the labels' names, or a probe, or a random one."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from torch import nn

from trapline.core.config import TrainConfig
from trapline.core.errors import InputError
from trapline.core.log import Advance, Log
from trapline.core.recipes import Recipe
from trapline.learn import models, probe
from trapline.learn.task import Task

Features = Callable[[Sequence[Path], Advance], np.ndarray]


def start(
    networks: Sequence[nn.Module],
    known: Sequence[str],
    task: Task,
    cfg: TrainConfig,
    recipe: Recipe,
    features: Features,
    log: Log,
) -> bool:
    """Give every one of `networks` the same classifier to start with.

    Args:
        networks: Of one architecture; their classifiers hold what came with the weights.
        known: Labels whose outputs came with the weights.
        features: Of crops, float [n, d].

    Returns:
        Whether it is worth evaluating: not a random one.

    Raises:
        InputError: A probe is all that is wanted, and the model has no linear classifier.
    """
    if recipe.head_start == "random":
        return False
    if known and cfg.mode != "probe" and recipe.head_start == "auto":
        log.note(f"{len(known)} of {len(task.labels)} labels keep their outputs from {cfg.weights}")
        return True
    heads = [models.linear_head(network) for network in networks]
    if any(head is None for head in heads):
        if not recipe.epochs:
            raise InputError(f"{cfg.model} has no linear classifier to fit a probe for; train 1 epoch or more.")
        log.warn(f"{cfg.model} has no linear classifier: training starts without the probe")
        return False
    chosen = probe.choose(task.targets, cfg.seed)
    paths = [task.paths[k] for k in chosen]
    with log.progress("features for the probe", len(paths), "crops") as advance:
        found = features(paths, advance)
    rows = (found, task.targets[chosen], task.weights[chosen])
    penalty = probe.choose_penalty(*rows, task.groups[chosen], len(task.labels), cfg.seed)
    if penalty != probe.PENALTY_C:
        log.note(
            f"probe: a penalty of C = {penalty:g} does better at places left out than the usual {probe.PENALTY_C:g}"
        )
    weight, bias = probe.fit(*rows, len(task.labels), penalty)
    for head in heads:
        assert head is not None
        probe.install(head, weight, bias)
    return True
