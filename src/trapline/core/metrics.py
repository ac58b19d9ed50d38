"""How good: pure functions on arrays, one figure each.

Throughout, n crops and L labels: `truth` and `predicted` are (n,) label numbers in 0..L-1, `scores` is (n, L) with
one probability per label. A figure that is not defined (a label without crops, a label never predicted, no crops at
all) is NaN, never 0; the stage that tabulates it gives the reason.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Real = NDArray[np.float64]
Ints = NDArray[np.integer]

CHUNK = 65_536  # rows at a time where an (n, L) comparison would double the scores' memory


def confusion(truth: Ints, predicted: Ints, labels: int) -> NDArray[np.int64]:
    """Confusion matrix (L, L): rows are true labels, columns predicted ones; entries count crops.

    Source: sklearn.metrics.confusion_matrix.
    """
    cells = np.bincount(truth.astype(np.int64) * labels + predicted, minlength=labels * labels)
    return cells.reshape(labels, labels)


def recall(matrix: Ints) -> Real:
    """Per label: the share of its crops that were named so, tp / (tp + fn); (L,), NaN without crops."""
    return _ratio(np.diag(matrix), matrix.sum(1))


def precision(matrix: Ints) -> Real:
    """Per label: the share of crops named so that were so, tp / (tp + fp); (L,), NaN where never predicted."""
    return _ratio(np.diag(matrix), matrix.sum(0))


def f1(matrix: Ints) -> Real:
    """Per label: 2 tp / (2 tp + fp + fn), the harmonic mean of precision and recall; (L,), NaN without crops.

    Source: van Rijsbergen 1979; sklearn.metrics.f1_score with `labels` those present.
    """
    value = _ratio(2 * np.diag(matrix), matrix.sum(0) + matrix.sum(1))
    return np.where(matrix.sum(1) > 0, value, np.nan)


def accuracy(matrix: Ints) -> float:
    """Share of crops named right; the field's unweighted top-1. NaN without crops."""
    return float(np.trace(matrix) / matrix.sum()) if matrix.sum() else float("nan")


def macro(values: Real) -> float:
    """Plain mean over the labels for which a figure is defined: every label weighs the same. NaN where none is.

    Of `recall` this is macro recall, sklearn's balanced_accuracy_score and the reference chain's "weighted top-1":
    the mean over the labels *present*, so a label without crops neither helps nor hurts.
    """
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def true_rank(truth: Ints, scores: Floats) -> NDArray[np.int64]:
    """How many labels score above the true one, (n,): 0 is top-1. Ties go to the lower label number, like argmax."""
    ranks = np.empty(len(truth), np.int64)
    for start in range(0, len(truth), CHUNK):
        part, true = scores[start : start + CHUNK], truth[start : start + CHUNK]
        own = part[np.arange(len(true)), true][:, None]
        before = np.arange(part.shape[1]) < true[:, None]
        ranks[start : start + CHUNK] = ((part > own) | ((part == own) & before)).sum(1)
    return ranks


def top_k(ranks: Ints, k: int) -> float:
    """Share of crops whose true label is among the k best scores. NaN without crops.

    Args:
        ranks: From `true_rank`.

    Source: sklearn.metrics.top_k_accuracy_score.
    """
    return float((ranks < k).mean()) if len(ranks) else float("nan")


def crop_losses(truth: Ints, scores: Floats) -> Real:
    """Negative natural logarithm of the true label's probability, (n,), with probabilities held above float epsilon.

    Its mean is the log loss (cross entropy): sklearn.metrics.log_loss.
    """
    own = scores[np.arange(len(truth)), truth]
    return -np.log(np.clip(own, np.finfo(own.dtype).eps, 1.0).astype(np.float64))


def mean_by_label(values: Real | Ints, truth: Ints, labels: int) -> Real:
    """Mean of a per-crop value over the crops of each true label; (L,), NaN without crops."""
    return _ratio(np.bincount(truth, values, labels), np.bincount(truth, minlength=labels))


def average_precision(positive: NDArray[np.bool_], score: Floats) -> tuple[float, Real]:
    """Area under the precision-recall curve as a sum over thresholds, sum_t (R_t - R_{t-1}) P_t, and its influence.

    Args:
        positive: (n,) whether a crop is of the label.
        score: (n,) the label's probability.

    Returns:
        AP, NaN without positives; and (n,) how much each crop moves it to first order (for intervals over groups):
        with P(s) the precision at threshold s, N(s) the crops at or above it and m the number of positives, AP's
        derivative by the weight of crop j is (y_j (P(s_j) - AP) + sum over positives i with s_i <= s_j of
        (y_j - P(s_i)) / N(s_i)) / m.

    Source: sklearn.metrics.average_precision_score (no interpolation; equal scores are one threshold).
    """
    count = int(positive.sum())
    if not count:
        return float("nan"), np.zeros(len(positive))
    order = np.argsort(-score, kind="stable")
    hit, ranked = positive[order], score[order]
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)  # last crop of each threshold
    above = (last + 1).astype(np.float64)
    hits = np.cumsum(hit)[last].astype(np.float64)
    new = np.diff(hits, prepend=0.0)
    at = hits / above
    value = float((new * at).sum() / count)
    # Crop j takes part in every threshold at or below its own score.
    ones = np.cumsum((new / above)[::-1])[::-1]
    precisions = np.cumsum((new * at / above)[::-1])[::-1]
    place = np.repeat(np.arange(len(last)), np.diff(last, prepend=-1))
    moved = hit * (at[place] - value + ones[place]) - precisions[place]
    influence = np.empty(len(positive))
    influence[order] = moved / count
    return value, influence


def group_counts(group: Ints, label: Ints, groups: int, labels: int, values: Real | None = None) -> Real:
    """Sums of `values` (default: crops) per group and label, (groups, labels)."""
    cells = np.bincount(group.astype(np.int64) * labels + label, values, groups * labels)
    return cells.reshape(groups, labels).astype(np.float64)


def label_balanced_weights(truth: Ints, labels: int) -> Real:
    """Weights with which every label present weighs the same; (n,), summing to n.

    Source: the reference chain's `label_weighted` (microsoft/CameraTraps, classification/train_classifier.py).
    """
    crops = np.bincount(truth, minlength=labels)
    present = max(int((crops > 0).sum()), 1)
    return len(truth) / (present * np.maximum(crops[truth], 1).astype(np.float64))


def chance_macro_recall(support: Ints) -> float:
    """Expected macro recall of guessing evenly among the labels present: 1 / their number. NaN without any."""
    present = int((support > 0).sum())
    return 1 / present if present else float("nan")


def majority_accuracy(support: Ints, majority: int) -> float:
    """Accuracy of always naming one label: its share of the crops. NaN without crops."""
    return float(support[majority] / support.sum()) if support.sum() else float("nan")


def majority_macro_recall(support: Ints, majority: int) -> float:
    """Macro recall of always naming one label: 1 / labels present where it is one of them, else 0."""
    return chance_macro_recall(support) if support[majority] or not support.sum() else 0.0


def _ratio(top: Floats | Ints, bottom: Floats | Ints) -> Real:
    known = bottom > 0
    return np.where(known, top / np.where(known, bottom, 1), np.nan)
