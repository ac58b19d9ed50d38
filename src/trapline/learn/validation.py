"""How good scores are on val: what early stopping goes by."""

from typing import Literal, NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.metrics import average_precision_score

By = Literal["balanced_loss", "macro_recall"]
WITHIN = 0.1  # of the least loss


class Judgement(NamedTuple):
    """Figures of one epoch; None without val crops.

    Args:
        loss: Mean negative log likelihood, without label smoothing.
        macro_recall: Mean over the labels that val holds of the share found; 0..1.
        accuracy: Share of crops that are right (all of their labels, where they have several); 0..1.
        mean_ap: Where crops have several labels: mean over the labels that val holds of their average precision.
        balanced_loss: Where they have one: see `balanced_loss`; else NaN.
    """

    loss: float | None
    macro_recall: float | None
    accuracy: float | None
    mean_ap: float | None = None
    balanced_loss: float = np.nan

    @property
    def score(self) -> float | None:
        """What is told: mean average precision where there is one, else macro recall."""
        return self.macro_recall if self.mean_ap is None else self.mean_ap

    def merit(self, by: By) -> tuple[float, float] | None:
        """How good, best last: by mean average precision where there is one, else as asked; then by the loss.

        None without val crops.
        """
        if self.score is None or self.loss is None:
            return None
        return (-self.balanced_loss if self._balanced(by) else self.score), -self.loss

    def is_kept(self, best: tuple[float, float] | None, by: By) -> bool:
        """Whether an epoch is kept, in place of the one kept before it.

        By the loss, one that is little worse than the best: the later an epoch, the less its rate has left to learn,
        and what little val tells between such epochs is mostly chance (docs/recipes.md). Else only a better one.

        Args:
            best: The best merit of the epochs before; None without.
        """
        merit = self.merit(by)
        if merit is None or best is None:
            return True
        return -merit[0] <= -best[0] * (1 + WITHIN) if self._balanced(by) else merit > best

    def _balanced(self, by: By) -> bool:
        return by == "balanced_loss" and self.mean_ap is None


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


def balanced_loss(scores: np.ndarray, targets: np.ndarray) -> float:
    """Mean over labels of the mean negative log likelihood, at the temperature that makes it least.

    Val holds few crops of many a label, so that macro recall jumps from epoch to epoch; this moves with every crop.
    The temperature, which calibration chooses later anyway, is fitted away: a modest probe and a confident network can
    be compared.

    Args:
        scores: Probabilities [n, labels], n >= 1.
        targets: Label indices [n].
    """
    logits = np.log(np.maximum(scores.astype(np.float64), 1e-12))
    weights = 1.0 / np.bincount(targets)[targets]
    weights /= weights.sum()
    rows = np.arange(len(targets))

    def loss(log_factor: float) -> float:
        return -float(weights @ log_softmax(logits * np.exp(log_factor), axis=1)[rows, targets])

    found = minimize_scalar(loss, bounds=(-3.0, 3.0), method="bounded")
    return float(found.fun)
