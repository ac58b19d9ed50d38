"""How good scores are on val: what early stopping goes by."""

from typing import NamedTuple

import numpy as np


class Judgement(NamedTuple):
    """Figures of one epoch; None without val crops.

    Args:
        loss: Mean negative log likelihood, without label smoothing.
        macro_recall: Mean over the labels that val holds of the share found; 0..1.
        accuracy: Share of crops that are right; 0..1.
    """

    loss: float | None
    macro_recall: float | None
    accuracy: float | None

    def rank(self) -> tuple[float, float]:
        """Sorts by macro recall, then by loss, best last. An epoch without figures beats none before it."""
        recall = np.inf if self.macro_recall is None else self.macro_recall
        return recall, -np.inf if self.loss is None else -self.loss


def judge(scores: np.ndarray, targets: np.ndarray) -> Judgement:
    """Compare scores with the truth.

    Args:
        scores: Softmax probabilities [n, labels], n >= 1.
        targets: Label indices [n].
    """
    own = scores[np.arange(len(targets)), targets]
    loss = -np.log(np.maximum(own, 1e-12)).mean(dtype=np.float64)
    right = scores.argmax(axis=1) == targets
    recalls = [right[targets == label].mean() for label in np.unique(targets)]
    return Judgement(float(loss), float(np.mean(recalls)), float(right.mean()))
