"""Every figure of one set of scored crops, with its interval over locations or the reason why there is none."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from trapline.core import intervals, metrics
from trapline.core.intervals import Scale, Spread
from trapline.core.metrics import Floats, Ints, Real

NO_CROPS = "no crops"
BLOCK = 16  # label columns read at a time: a cache line of single precision


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
class Tally:
    """Counts of a split's crops, by group and label: all that recall, precision and F1 rest on.

    Args:
        total: n crops.
        crops: (G, L) crops of each label.
        hits: (G, L) of these, those given it.
        naming: (G, L) crops given each label.
        labels: L names.
        split: Its name, for the reasons.
        what: What is counted, for the reasons.
    """

    total: int
    crops: Real
    hits: Real
    naming: Real
    labels: Sequence[str]
    split: str
    what: str = "crops"

    @cached_property
    def support(self) -> NDArray[np.int64]:
        """(L,) crops per label."""
        return self.crops.sum(0).astype(np.int64)

    @cached_property
    def times(self) -> NDArray[np.int64]:
        """(L,) crops per label that was given."""
        return self.naming.sum(0).astype(np.int64)


@dataclass(frozen=True)
class Named:
    """n crops (or sequences) of one split, or of a part of one, with the label each was given.

    Args:
        truth: (n,) label numbers.
        predicted: (n,) label numbers.
        group: (n,) numbers of the groups, 0..G-1, all of which occur.
        labels: L names.
        split: Its name, for the reasons.
        what: What is named, for the reasons.
    """

    truth: Ints
    predicted: Ints
    group: Ints
    labels: Sequence[str]
    split: str
    what: str = "crops"

    @cached_property
    def confusion(self) -> NDArray[np.int64]:
        """(L, L) rows true, columns predicted."""
        return metrics.confusion(self.truth, self.predicted, len(self.labels))

    @cached_property
    def support(self) -> NDArray[np.int64]:
        """(L,) crops per true label."""
        return self.confusion.sum(1)

    @cached_property
    def right(self) -> NDArray[np.bool_]:
        """(n,) whether each was named right."""
        return self.predicted == self.truth

    @cached_property
    def groups(self) -> int:
        """G."""
        return int(self.group.max()) + 1 if len(self.group) else 0

    @cached_property
    def crops(self) -> Real:
        """(G, L) crops by group and true label."""
        return self.by_true()

    @cached_property
    def hits(self) -> Real:
        """(G, L) crops named right."""
        return self.by_true(self.right.astype(np.float64))

    @cached_property
    def naming(self) -> Real:
        """(G, L) crops by group and predicted label."""
        return metrics.group_counts(self.group, self.predicted, self.groups, len(self.labels))

    @property
    def tally(self) -> Tally:
        """Its counts."""
        return Tally(len(self.truth), self.crops, self.hits, self.naming, self.labels, self.split, self.what)

    def by_true(self, values: Real | None = None) -> Real:
        """(G, L) sums of `values` (default: crops) by group and true label."""
        return metrics.group_counts(self.group, self.truth, self.groups, len(self.labels), values)

    def part(self, chosen: NDArray[np.bool_]) -> "Named":
        """Some of the crops, with groups numbered anew."""
        group = np.unique(self.group[chosen], return_inverse=True)[1]
        return Named(self.truth[chosen], self.predicted[chosen], group, self.labels, self.split, self.what)


@dataclass(frozen=True)
class Scored:
    """n scored crops of one split.

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
    def named(self) -> Named:
        """Each crop given the label with the highest score."""
        predicted = self.scores.argmax(1) if len(self.scores) else np.zeros(0, np.int64)
        return Named(self.truth, predicted, self.group, self.labels, self.split)

    @cached_property
    def ranks(self) -> NDArray[np.int64]:
        """(n,) how many labels score above the true one."""
        return metrics.true_rank(self.truth, self.scores)


def top_ks(wished: Sequence[int], labels: int) -> list[int]:
    """Those k of top-k that can be wrong: k of L or more labels is always right, so it is left out (top-1 stays)."""
    return [k for k in sorted(set(wished)) if k == 1 or 1 < k < labels]


def headline(named: Named) -> list[Figure]:
    """Macro recall and accuracy with intervals: what is also told of a part of a split, such as its infrared crops."""
    return [*_macro_and_plain(named, named.hits, "macro_recall", "accuracy")]


def scorecard(scored: Scored, top_k: Sequence[int], majority: int) -> list[Figure]:
    """All figures of a split: overall, per label, and what guessing would reach.

    Args:
        scored: Its crops; may be none.
        top_k: The k of top-k accuracy.
        majority: The label that "always the most common" names (the most common in train).
    """
    named, crops = scored.named, len(scored.truth)
    guess = metrics.chance_macro_recall(named.support)
    values = {
        "crops": crops,
        "groups": named.groups,
        "labels": int((named.support > 0).sum()),
        "chance_macro_recall": guess,
        "chance_accuracy": guess,  # guessing evenly is right as often on every label
        "majority_macro_recall": metrics.majority_macro_recall(named.support, majority),
        "majority_accuracy": metrics.majority_accuracy(named.support, majority),
    }
    counts = [plain(name, value, crops) for name, value in values.items()]
    averages, per_label = naming(named.tally)
    ap, ap_per_label = average_precisions(named.tally, scored.scores, scored.group, lambda label: scored.truth == label)
    places = zip(scored.labels, (named.crops > 0).sum(0), named.support, strict=True)
    where = [Figure("groups", label, float(n), None, None, int(support), None) for label, n, support in places]
    ranked = list(_ranked(scored, top_k))
    return [*headline(named), *ranked, *losses(scored), *counts, *averages, *ap, *per_label, *ap_per_label, *where]


def naming(tally: Tally) -> tuple[list[Figure], list[Figure]]:
    """Precision, recall and F1: their averages (macro and weighted; recall's are `headline`), and every label's."""
    count, absent = len(tally.labels), tally.support == 0
    missing = f"no {tally.split} {tally.what} of this label"
    if not tally.total:
        names = ("macro_f1", "weighted_f1", "macro_precision", "weighted_precision")
        rows = [Figure(name, label, None, None, None, 0, missing)
                for name in ("recall", "precision", "f1") for label in tally.labels]  # fmt: skip
        return [Figure(name, "", None, None, None, 0, f"no {tally.what}") for name in names], rows
    recall = intervals.ratio_spread(tally.hits, tally.crops)
    precision = intervals.ratio_spread(tally.hits, tally.naming)
    # An absent label has no F1, whatever was mistaken for it: that shows in the other labels' recall.
    both = np.where(absent, 0, tally.crops + tally.naming)
    f1 = intervals.ratio_spread(np.where(absent, 0, 2 * tally.hits), both)
    averages = []
    for name, found in (("f1", f1), ("precision", precision)):
        averages.append(
            _overall(tally.total, tally.what, f"macro_{name}", metrics.macro(found.value), intervals.mean(found))
        )
        average = intervals.weighted(found, tally.crops)
        averages.append(
            _overall(tally.total, tally.what, f"weighted_{name}", float(average.value[0]), intervals.mean(average))
        )
    of_absent = np.where(absent, missing, "")
    rows = []
    for name, found, support, reasons in (
        ("recall", recall, tally.support, of_absent),
        ("precision", precision, tally.times, np.where(tally.times == 0, "never predicted", "")),
        ("f1", f1, tally.support, of_absent),
    ):
        low, high = intervals.each(found)
        for n in range(count):
            value = found.value[n], low[n], high[n]
            rows.append(figure(name, tally.labels[n], *value, int(support[n]), str(reasons[n])))
    return averages, rows


def losses(scored: Scored, suffix: str = "") -> list[Figure]:
    """Log loss and Brier score: over all crops, and as the mean over labels."""
    crops = len(scored.truth)
    measures: dict[str, tuple[Callable[[Ints, Floats], Real], Scale]] = {
        "log_loss": (metrics.crop_losses, "positive"),
        "brier": (metrics.crop_briers, "positive"),
    }
    if not crops:
        return [plain(f"{macro}{name}{suffix}", float("nan"), 0) for name in measures for macro in ("macro_", "")]
    rows = []
    for name, (measure, scale) in measures.items():
        values = measure(scored.truth, scored.scores)
        sums = [scored.named.by_true(values), scored.named.crops, scored.named.by_true(values**2)]
        found = intervals.ratio_spread(*sums)
        macro = intervals.mean(found, scale)
        rows.append(_overall(crops, scored.named.what, f"macro_{name}{suffix}", metrics.macro(found.value), macro))
        found = intervals.ratio_spread(*(part.sum(1, keepdims=True) for part in sums))
        rows.append(
            _overall(crops, scored.named.what, f"{name}{suffix}", float(found.value[0]), intervals.mean(found, scale))
        )
    return rows


def gaps(seen: Named, held_out: Named) -> list[Figure]:
    """gap_macro_recall and gap_accuracy: figures at seen locations less those at held-out ones, of the same labels."""
    crops = len(held_out.truth)
    if not len(seen.truth) or not crops:
        reason = "no crops at seen locations" if crops else NO_CROPS
        return [Figure(name, "", None, None, None, crops, reason) for name in ("gap_macro_recall", "gap_accuracy")]
    rows = []
    for name, whole in (("gap_macro_recall", False), ("gap_accuracy", True)):
        found = []
        for part in (seen, held_out):
            sums = part.hits, part.crops
            found.append(intervals.ratio_spread(*(s.sum(1, keepdims=True) if whole else s for s in sums)))
        rows.append(figure(name, "", *intervals.gap(*found), crops, "no label in both"))
    return rows


def _macro_and_plain(named: Named, hits: Real, macro: str, whole: str) -> Iterator[Figure]:
    """A share of crops, once as the mean over labels and once over all crops alike."""
    if not len(named.truth):
        yield from (Figure(name, "", None, None, None, 0, f"no {named.what}") for name in (macro, whole))
        return
    found = intervals.ratio_spread(hits, named.crops)
    yield _overall(len(named.truth), named.what, macro, metrics.macro(found.value), intervals.mean(found))
    found = intervals.ratio_spread(hits.sum(1, keepdims=True), named.crops.sum(1, keepdims=True))
    yield _overall(len(named.truth), named.what, whole, float(found.value[0]), intervals.mean(found))


def _ranked(scored: Scored, top_k: Sequence[int]) -> Iterator[Figure]:
    for k in top_ks(top_k, len(scored.labels)):
        if k > 1:
            hits = scored.named.by_true((scored.ranks < k).astype(np.float64))
            yield from _macro_and_plain(scored.named, hits, f"macro_top{k}_recall", f"top{k}_accuracy")


def average_precisions(
    tally: Tally, scores: Floats, group: Ints, positive: Callable[[int], NDArray[np.bool_]]
) -> tuple[list[Figure], list[Figure]]:
    """Average precision: its averages, macro and weighted, and every label's.

    Args:
        tally: Counts of the same crops.
        scores: (n, L) probabilities.
        group: (n,) group numbers.
        positive: Of a label's number, (n,) whether each crop has it.
    """
    name, missing = "average_precision", f"no {tally.split} crops of this label"
    if not tally.total:
        averages = [plain(f"{kind}_{name}", float("nan"), 0) for kind in ("macro", "weighted")]
        return averages, [Figure(name, label, None, None, None, 0, missing) for label in tally.labels]
    found = _average_precision_spread(tally, scores, group, positive)
    average = intervals.weighted(found, tally.crops)
    of = (tally.total, tally.what)
    averages = [
        _overall(*of, f"macro_{name}", metrics.macro(found.value), intervals.mean(found)),
        _overall(*of, f"weighted_{name}", float(average.value[0]), intervals.mean(average)),
    ]
    low, high = intervals.each(found)
    return averages, [
        figure(name, tally.labels[n], found.value[n], low[n], high[n], int(tally.support[n]), missing)
        for n in range(len(tally.labels))
    ]


def _average_precision_spread(
    tally: Tally, scores: Floats, group: Ints, positive: Callable[[int], NDArray[np.bool_]]
) -> Spread:
    groups, count = tally.crops.shape
    values, influence = np.full(count, np.nan), np.zeros((groups, count))

    def measure(start: int) -> None:
        columns = np.ascontiguousarray(scores[:, start : start + BLOCK].T)
        for n, score in enumerate(columns, start):
            if not tally.support[n]:
                continue
            own = positive(n)
            # Crops below the lowest positive are in no threshold that counts, and move nothing.
            counting = score >= score[own].min()
            values[n], influence[:, n] = metrics.average_precision(
                own[counting], score[counting], group[counting], groups
            )

    with ThreadPoolExecutor(2) as threads:  # numpy sorts without the interpreter's lock
        list(threads.map(measure, range(0, count, BLOCK)))
    total = tally.crops.sum(0)
    # AP also moves with other labels' crops, wherever they are: half is the leverage that covered best (95-96% for the
    # macro AP of 10 to 40 simulated locations, where the full one covered 99% with double the width).
    return intervals.spread(values, influence, tally.crops, intervals.share_unit(values, total), most_leverage=0.5)


def _overall(total: int, what: str, name: str, value: float, ends: tuple[float, float]) -> Figure:
    return figure(name, "", value, *ends, total, f"no {what}")


def figure(name: str, label: str, value: float, low: float, high: float, support: int, undefined: str) -> Figure:
    """None for NaN, and why: `undefined` where there is no value, few groups where there is no interval."""
    if np.isnan(value):
        return Figure(name, label, None, None, None, support, undefined)
    if np.isnan(low):
        return Figure(name, label, float(value), None, None, support, intervals.FEW_GROUPS)
    return Figure(name, label, float(value), float(low), float(high), support, None)


def plain(name: str, value: float, support: int) -> Figure:
    """A figure that needs no interval: a count, or what guessing reaches."""
    if np.isnan(value):
        return Figure(name, "", None, None, None, support, NO_CROPS)
    return Figure(name, "", float(value), None, None, support, None)
