"""Every figure of one set of scored crops, with its interval over locations or the reason why there is none."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from trapline.core import intervals, metrics
from trapline.core.metrics import Floats, Ints, Real

NO_CROPS = "no crops"


@dataclass(frozen=True)
class Figure:
    """One figure. `value`, `low` and `high` are None where undefined, and `reason` says why.

    Args:
        name: What it measures.
        label: A label's name, or "" for all.
        support: How many crops it rests on.
    """

    name: str
    label: str
    value: float | None
    low: float | None
    high: float | None
    support: int
    reason: str | None


@dataclass(frozen=True)
class Scored:
    """n scored crops of one split (or of a part of one).

    Args:
        truth: (n,) label numbers.
        scores: (n, L) probabilities.
        group: (n,) numbers of the groups, 0..G-1, all of which occur.
        labels: L names.
        split: Its name, for the reasons.
    """

    truth: Ints
    scores: Floats
    group: Ints
    labels: Sequence[str]
    split: str

    @cached_property
    def predicted(self) -> NDArray[np.int64]:
        """(n,) the label with the highest score."""
        return self.scores.argmax(1) if len(self.scores) else np.zeros(0, np.int64)

    @cached_property
    def ranks(self) -> NDArray[np.int64]:
        """(n,) how many labels score above the true one."""
        return metrics.true_rank(self.truth, self.scores)

    @cached_property
    def confusion(self) -> NDArray[np.int64]:
        """(L, L) rows true, columns predicted."""
        return metrics.confusion(self.truth, self.predicted, len(self.labels))

    @cached_property
    def support(self) -> NDArray[np.int64]:
        """(L,) crops per true label."""
        return self.confusion.sum(1)

    @property
    def groups(self) -> int:
        """G."""
        return int(self.group.max()) + 1 if len(self.group) else 0

    def by_true(self, values: Real | None = None) -> Real:
        """(G, L) sums of `values` (default: crops) by group and true label."""
        return metrics.group_counts(self.group, self.truth, self.groups, len(self.labels), values)

    def by_predicted(self, values: Real | None = None) -> Real:
        """(G, L) sums by group and predicted label."""
        return metrics.group_counts(self.group, self.predicted, self.groups, len(self.labels), values)

    def part(self, chosen: NDArray[np.bool_]) -> "Scored":
        """Some of the crops, with groups numbered anew."""
        group = np.unique(self.group[chosen], return_inverse=True)[1]
        return Scored(self.truth[chosen], self.scores[chosen], group, self.labels, self.split)


def top_ks(wished: Sequence[int], labels: int) -> list[int]:
    """Those k of top-k that can be wrong: k of L or more labels is always right, so it is left out (top-1 stays)."""
    return [k for k in sorted(set(wished)) if k == 1 or 1 < k < labels]


def headline(scored: Scored) -> list[Figure]:
    """Macro recall and accuracy with intervals: what is also told of a part of a split, such as its infrared crops."""
    right = (scored.predicted == scored.truth).astype(np.float64)
    return [*_macro_and_plain(scored, right, "macro_recall", "accuracy")]


def scorecard(scored: Scored, top_k: Sequence[int], majority: int) -> list[Figure]:
    """All figures of a split: overall, per label, and what guessing would reach.

    Args:
        scored: Its crops; may be none.
        top_k: The k of top-k accuracy.
        majority: The label that "always the most common" names (the most common in train).
    """
    plain = [
        _plain("crops", len(scored.truth), len(scored.truth)),
        _plain("groups", scored.groups, len(scored.truth)),
        _plain("labels", int((scored.support > 0).sum()), len(scored.truth)),
        _plain("chance_macro_recall", metrics.chance_macro_recall(scored.support), len(scored.truth)),
        # Guessing evenly is right as often on every label, so its accuracy is its macro recall.
        _plain("chance_accuracy", metrics.chance_macro_recall(scored.support), len(scored.truth)),
        _plain("majority_macro_recall", metrics.majority_macro_recall(scored.support, majority), len(scored.truth)),
        _plain("majority_accuracy", metrics.majority_accuracy(scored.support, majority), len(scored.truth)),
    ]
    return [*headline(scored), *_ranked(scored, top_k), *_losses(scored), *plain, *_per_label(scored)]


def _macro_and_plain(scored: Scored, right: Real, macro: str, plain: str) -> Iterator[Figure]:
    """A share of crops, once as the mean over labels and once over all crops alike."""
    if not len(right):
        yield from (_plain(macro, float("nan"), 0), _plain(plain, float("nan"), 0))
        return
    hits, crops = scored.by_true(right), scored.by_true()
    found = intervals.ratio_spread(hits, crops)
    yield _overall(scored, macro, metrics.macro(found.value), intervals.mean(found))
    found = intervals.ratio_spread(hits.sum(1, keepdims=True), crops.sum(1, keepdims=True))
    yield _overall(scored, plain, float(found.value[0]), intervals.mean(found))


def _ranked(scored: Scored, top_k: Sequence[int]) -> Iterator[Figure]:
    for k in top_ks(top_k, len(scored.labels)):
        if k > 1:
            right = (scored.ranks < k).astype(np.float64)
            yield from _macro_and_plain(scored, right, f"macro_top{k}_recall", f"top{k}_accuracy")


def _losses(scored: Scored) -> Iterator[Figure]:
    if not len(scored.truth):
        yield from (_plain("macro_log_loss", float("nan"), 0), _plain("log_loss", float("nan"), 0))
        return
    losses = metrics.crop_losses(scored.truth, scored.scores)
    sums, crops, squares = scored.by_true(losses), scored.by_true(), scored.by_true(losses**2)
    found = intervals.ratio_spread(sums, crops, squares)
    yield _overall(scored, "macro_log_loss", metrics.macro(found.value), intervals.mean(found, positive=True))
    found = intervals.ratio_spread(*(part.sum(1, keepdims=True) for part in (sums, crops, squares)))
    yield _overall(scored, "log_loss", float(found.value[0]), intervals.mean(found, positive=True))


def _per_label(scored: Scored) -> Iterator[Figure]:
    """recall, precision, f1, average_precision and groups of every label; macro_f1 and macro_average_precision."""
    count = len(scored.labels)
    absent = scored.support == 0
    missing = f"no {scored.split} crops of this label"
    if not len(scored.truth):
        for name in ("macro_f1", "macro_average_precision"):
            yield _plain(name, float("nan"), 0)
        for label in scored.labels:
            for name in ("recall", "precision", "f1", "average_precision"):
                yield Figure(name, label, None, None, None, 0, missing)
            yield Figure("groups", label, 0.0, None, None, 0, None)
        return
    right = (scored.predicted == scored.truth).astype(np.float64)
    hits, crops, named = scored.by_true(right), scored.by_true(), scored.by_predicted()
    recall = intervals.ratio_spread(hits, crops)
    precision = intervals.ratio_spread(hits, named)
    # An absent label has no F1, whatever was mistaken for it: that shows in the other labels' recall.
    f1 = intervals.ratio_spread(np.where(absent, 0, 2 * hits), np.where(absent, 0, crops + named))
    ap = _average_precision(scored, crops)
    for name, found in (("macro_f1", f1), ("macro_average_precision", ap)):
        yield _overall(scored, name, metrics.macro(found.value), intervals.mean(found))
    times = scored.confusion.sum(0)
    never = np.where(times == 0, "never predicted", "")
    for name, found, support, reasons in (
        ("recall", recall, scored.support, np.where(absent, missing, "")),
        ("precision", precision, times, never),
        ("f1", f1, scored.support, np.where(absent, missing, "")),
        ("average_precision", ap, scored.support, np.where(absent, missing, "")),
    ):
        low, high = intervals.each(found)
        for n in range(count):
            yield _figure(name, scored.labels[n], found.value[n], low[n], high[n], int(support[n]), str(reasons[n]))
    for n, number in enumerate((crops > 0).sum(0)):
        yield Figure("groups", scored.labels[n], float(number), None, None, int(scored.support[n]), None)


def _average_precision(scored: Scored, crops: Real) -> intervals.Spread:
    count = len(scored.labels)
    values, influence = np.full(count, np.nan), np.zeros((scored.groups, count))
    for n in np.flatnonzero(scored.support):
        positive, score = scored.truth == n, scored.scores[:, n]
        # Crops below the lowest positive are in no threshold that counts, and move nothing.
        counting = score >= score[positive].min()
        values[n], moved = metrics.average_precision(positive[counting], score[counting])
        influence[:, n] = np.bincount(scored.group[counting], moved, scored.groups)
    total = crops.sum(0)
    # AP also moves with other labels' crops, wherever they are: half is the leverage that covered best (95-96% for the
    # macro AP of 10 to 40 simulated locations, where the full one covered 99% with double the width).
    return intervals.spread(values, influence, crops, intervals.share_unit(values, total), most_leverage=0.5)


def _overall(scored: Scored, name: str, value: float, ends: tuple[float, float]) -> Figure:
    return _figure(name, "", value, *ends, len(scored.truth), NO_CROPS)


def _figure(name: str, label: str, value: float, low: float, high: float, support: int, undefined: str) -> Figure:
    """None for NaN, and why."""
    if np.isnan(value):
        return Figure(name, label, None, None, None, support, undefined)
    if np.isnan(low):
        return Figure(name, label, float(value), None, None, support, intervals.FEW_GROUPS)
    return Figure(name, label, float(value), float(low), float(high), support, None)


def _plain(name: str, value: float, support: int) -> Figure:
    """A figure that needs no interval: a count, or what guessing reaches."""
    if np.isnan(value):
        return Figure(name, "", None, None, None, support, NO_CROPS)
    return Figure(name, "", float(value), None, None, support, None)
