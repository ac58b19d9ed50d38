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


def crop_briers(truth: Ints, scores: Floats) -> Real:
    """Squared distance of the probabilities from the truth, (n,): sum over labels of (p - y)^2, from 0 to 2.

    Its mean is the Brier score. Source: Brier 1950, "Verification of forecasts expressed in terms of probability";
    sklearn.metrics.brier_score_loss of more than two labels.
    """
    found = np.empty(len(truth))
    for start in range(0, len(truth), CHUNK):
        part = scores[start : start + CHUNK]
        own = part[np.arange(len(part)), truth[start : start + CHUNK]].astype(np.float64)
        found[start : start + CHUNK] = np.einsum("ij,ij->i", part, part, dtype=np.float64) - 2 * own + 1
    return found


def weighted(values: Real, support: Ints) -> float:
    """Mean over the labels for which a figure is defined, each weighing as many crops as it has. NaN where none is.

    Of recalls this is accuracy. Source: sklearn's `average="weighted"` with `zero_division=nan`.
    """
    known = ~np.isnan(values) & (support > 0)
    return float(np.average(values[known], weights=support[known])) if known.any() else float("nan")


def mean_by_label(values: Real | Ints, truth: Ints, labels: int) -> Real:
    """Mean of a per-crop value over the crops of each true label; (L,), NaN without crops."""
    return _ratio(np.bincount(truth, values, labels), np.bincount(truth, minlength=labels))


def average_precision(positive: NDArray[np.bool_], score: Floats, group: Ints, groups: int) -> tuple[float, Real]:
    """Area under the precision-recall curve as a sum over thresholds, sum_t (R_t - R_{t-1}) P_t, and its influence.

    Args:
        positive: (n,) whether a crop is of the label.
        score: (n,) the label's probability.
        group: (n,) numbers of groups, below `groups`.

    Returns:
        AP, NaN without positives; and (groups,) how much each group's crops move it to first order (for intervals):
        with P(s) the precision at threshold s, N(s) the crops at or above it and m the number of positives, AP's
        derivative by the weight of crop j is (y_j (P(s_j) - AP) + sum over positives i with s_i <= s_j of
        (y_j - P(s_i)) / N(s_i)) / m.

    Source: sklearn.metrics.average_precision_score (no interpolation; equal scores are one threshold).
    """
    count = int(positive.sum())
    if not count:
        return float("nan"), np.zeros(groups)
    score, group, positive = _falling(score, group, positive)
    hit = np.flatnonzero(positive)
    ends = np.searchsorted(-score, -score[hit], "right")  # N(s) of every positive; those of equal scores are alike
    above, new = np.unique(ends, return_counts=True)
    at = np.cumsum(new) / above
    value = float((new * at).sum() / count)
    # A crop takes part in every threshold at or below its own score.
    ones = np.cumsum((new / above)[::-1])[::-1]
    precisions = np.cumsum((new * at / above)[::-1])[::-1]
    place = np.repeat(np.arange(len(above)), new)
    influence = np.bincount(group[hit], at[place] - value + ones[place], groups)
    influence -= np.bincount(group[: above[-1]], np.repeat(precisions, np.diff(above, prepend=0)), groups)
    return value, influence / count


def group_counts(group: Ints, label: Ints, groups: int, labels: int, values: Real | None = None) -> Real:
    """Sums of `values` (default: crops) per group and label, (groups, labels)."""
    cells = np.bincount(group.astype(np.int64) * labels + label.astype(np.int64), values, groups * labels)
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


def _falling(score: Floats, group: Ints, positive: NDArray[np.bool_]) -> tuple[Floats, Ints, NDArray[np.bool_]]:
    """All three by falling score, in any order among equals.

    Single precision that is never negative is sorted as integers, with the rest in the low bits: three times as fast.
    """
    if score.dtype != np.float32 or score.min(initial=0) < 0 or group.max(initial=0) >= 2**31:
        order = np.argsort(-score)
        return score[order], group[order], positive[order]
    bits = (score + np.float32(0)).view(np.uint32)  # + 0: no negative zero
    keys = ((~bits).astype(np.uint64) << np.uint64(32)) | (positive.astype(np.uint64) << np.uint64(31))
    keys |= group.astype(np.uint64)
    keys.sort()
    low = keys.astype(np.uint32)
    ranked = (~(keys >> np.uint64(32)).astype(np.uint32)).view(np.float32)
    return ranked, (low & np.uint32(0x7FFFFFFF)).astype(np.int64), low >= np.uint32(2**31)


def _ratio(top: Floats | Ints, bottom: Floats | Ints) -> Real:
    known = bottom > 0
    return np.where(known, top / np.where(known, bottom, 1), np.nan)
