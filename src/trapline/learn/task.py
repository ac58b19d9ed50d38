"""What is to be learned from what, and how far that is."""

from dataclasses import dataclass

import numpy as np

from trapline.core.errors import TraplineError
from trapline.io.places import Source

DRAWS = 20


@dataclass(frozen=True)
class Task:
    """What is to be learned from what.

    Args:
        labels: In the order of the model's outputs.
        crop_ids, paths, targets, weights: Of the training crops: names, files (or pieces of another place),
            labels, weights [n] > 0. Labels are indices, int64 [n]; or where crops have several, float32 [n, labels] of
            0 and 1.
        val_paths, val_targets: Of the val crops; may be empty.
        groups: Each training crop's group, by number, [n]: crops that are alike, for cross-validation.
    """

    labels: tuple[str, ...]
    crop_ids: tuple[str, ...]
    paths: tuple[Source, ...]
    targets: np.ndarray
    weights: np.ndarray
    val_paths: tuple[Source, ...]
    val_targets: np.ndarray
    groups: np.ndarray

    @property
    def multilabel(self) -> bool:
        """Whether a crop may have several labels."""
        return self.targets.ndim == 2

    def elsewhere(self, example: int, random: np.random.Generator) -> int | None:
        """Some training crop of another group than an example's; None where a few draws find none."""
        for _ in range(DRAWS):
            other = int(random.integers(len(self.groups)))
            if self.groups[other] != self.groups[example]:
                return other
        return None


@dataclass
class Progress:
    """How far a training is: everything besides tensors that going on needs."""

    epoch: int = 0  # finished epochs; 0 after the start
    batch: int = 0  # finished batches of the epoch under way
    step: int = 0  # optimiser steps so far
    loss_sum: float = 0.0  # of the epoch under way, over its crops
    seen: int = 0  # crops of the epoch under way
    seconds: float = 0.0  # spent on the epoch under way; wall clock, not reproducible
    best_epoch: int = 0
    best_score: float | None = None  # macro recall, or mean average precision where crops have several labels
    best_merit: tuple[float, float] | None = None  # of any epoch: what they are chosen by
    metrics_size: int = 0  # bytes of metrics.jsonl that hold
    micro_batch: int = 0  # crops in memory at a time, as memory allowed so far


def unreadable(path: Source, why: str, count: int = 1) -> TraplineError:
    """The error for crops that vanished or broke while they were needed."""
    crops = "a crop" if count == 1 else f"{count} crops"
    return TraplineError(
        f"{crops} of the training data cannot be used (first: {path}: {why}). Make the crops again with "
        "`trapline crop`, then go on with the same command: nothing is lost."
    )
