"""How good scores are on val: what early stopping goes by."""

from typing import NamedTuple

import numpy as np
from sklearn.metrics import average_precision_score


class Judgement(NamedTuple):
    """Figures of one epoch; None without val crops.

    Args:
        loss: Mean negative log likelihood, without label smoothing.
        macro_recall: Mean over the labels that val holds of the share found; 0..1.
        accuracy: Share of crops that are right (all of their labels, where they have several); 0..1.
        mean_ap: Where crops have several labels: mean over the labels that val holds of their average precision.
    """

    loss: float | None
    macro_recall: float | None
    accuracy: float | None
    mean_ap: float | None = None

    @property
    def score(self) -> float | None:
        """What the best epoch is chosen by: mean average precision where there is one, else macro recall."""
        return self.macro_recall if self.mean_ap is None else self.mean_ap

    def rank(self) -> tuple[float, float]:
        """Sorts by score, then by loss, best last. An epoch without figures beats none before it."""
        score = np.inf if self.score is None else self.score
        return score, -np.inf if self.loss is None else -self.loss


def judge(scores: np.ndarray, targets: np.ndarray) -> Judgement:
    """Compare scores with the truth.

    Args:
        scores: Probabilities [n, labels], n >= 1.
        targets: Label indices [n]; or [n, labels] of 0 and 1.
    """
    if targets.ndim == 2:
        return _judge_several(scores, targets > 0.5)
    own = scores[np.arange(len(targets)), targets]
    loss = -np.log(np.maximum(own, 1e-12)).mean(dtype=np.float64)
    right = scores.argmax(axis=1) == targets
    recalls = [right[targets == label].mean() for label in np.unique(targets)]
    return Judgement(float(loss), float(np.mean(recalls)), float(right.mean()))


def _judge_several(scores: np.ndarray, truth: np.ndarray) -> Judgement:
    """Of labels that are each there or not, [n, labels]; said to be there from a score of one half."""
    sure = np.clip(np.where(truth, scores, 1 - scores), 1e-12, 1)
    found = scores >= 0.5
    held = np.flatnonzero(truth.any(axis=0))
    recalls = [found[truth[:, label], label].mean() for label in held]
    precisions = [average_precision_score(truth[:, label], scores[:, label]) for label in held]
    return Judgement(
        loss=float(-np.log(sure).mean(dtype=np.float64)),
        macro_recall=float(np.mean(recalls)) if len(held) else 0.0,
        accuracy=float((found == truth).all(axis=1).mean()),
        mean_ap=float(np.mean(precisions)) if len(held) else 0.0,
    )
