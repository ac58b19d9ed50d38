"""How sure is sure enough: per label, the least confidence with which its crops need no person.

A crop is kept (needs no person) where the confidence of its calibrated label reaches that label's threshold. Thresholds
are chosen on val, so that kept crops are right as often as wished; what they give is measured at test.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trapline.core import intervals
from trapline.core.intervals import FEW_GROUPS
from trapline.core.metrics import Floats, Ints, Real, group_counts

STEPS = 100
GRID = np.arange(STEPS + 1) / STEPS
"""Thresholds that are tried: 0, 0.01, ... 1."""
MIN_KEPT = 5
"""A label that keeps fewer val crops than this has not shown that it reaches anything."""
BORROWED = 10.0
"""Crops' worth of belief that a label starts with: that it does as all labels together do at the same threshold."""
SURE = 0.8
"""Probability, by what is known from val, that a label's precision is as wished. With 0.7, kept crops of other
locations were right 94% of the time where 95% were wished; with 0.8, 95% (docs/log.md)."""


@dataclass(frozen=True)
class Kept:
    """n crops of one split, by the label and the confidence that calibrated scores give them.

    Args:
        given: (n,) label numbers.
        confidence: (n,) the label's calibrated score.
        right: (n,) whether the label is the true one.
        group: (n,) numbers of the groups, 0..G-1.
        labels: L.
    """

    given: Ints
    confidence: Floats
    right: NDArray[np.bool_]
    group: Ints
    labels: int

    @property
    def groups(self) -> int:
        """G."""
        return int(self.group.max()) + 1 if len(self.group) else 0

    def above(self, thresholds: Real) -> NDArray[np.bool_]:
        """(n,) which crops reach their label's threshold, (L,)."""
        return self.confidence >= thresholds[self.given]


@dataclass(frozen=True)
class Outcome:
    """What thresholds give in one split, per label (L,) and, last, for all together: (L + 1,) each.

    `precision` and `coverage` are shares with 95% intervals over locations; NaN where undefined.
    """

    named: NDArray[np.int64]
    kept: NDArray[np.int64]
    precision: Real
    precision_low: Real
    precision_high: Real
    coverage: Real
    coverage_low: Real
    coverage_high: Real


def curves(crops: Kept) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Crops kept, and those of them that are right, at every threshold of GRID: (L + 1, STEPS + 1) each, all last."""
    step = np.minimum(np.floor(crops.confidence.astype(np.float64) * STEPS + 1e-6), STEPS).astype(np.int64)
    found = []
    for values in (None, crops.right.astype(np.float64)):
        at = group_counts(crops.given, step, crops.labels, STEPS + 1, values)
        whole = np.cumsum(at[:, ::-1], axis=1)[:, ::-1]
        found.append(np.vstack([whole, whole.sum(0)]).round().astype(np.int64))
    return found[0], found[1]


def choose(crops: Kept, precision: float) -> tuple[Real, list[str | None]]:
    """The least threshold of every label from which on its crops are right as often as wished.

    A label's precision at a threshold has a beta distribution: its own right and wrong crops, and BORROWED crops at the
    rate of all labels together; counts are divided by a design effect, since crops of one location are alike. The
    threshold is the least at which the precision is as wished with probability SURE.

    Args:
        crops: Of val.
        precision: Wished share of kept crops that are right, 0 to 1.

    Returns:
        (L,) thresholds, infinite where a label never reaches the precision; and why.
    """
    from scipy.special import betainc

    kept, right = curves(crops)
    alike = design_effect(crops)
    everywhere = (right[-1] + 1) / (kept[-1] + 2)
    n, hits = kept[:-1] / alike, right[:-1] / alike
    a, b = hits + BORROWED * everywhere, n - hits + BORROWED * (1 - everywhere)
    sure = 1 - betainc(np.maximum(a, 1e-9), np.maximum(b, 1e-9), precision)
    enough = (sure >= SURE) & (kept[:-1] >= MIN_KEPT)
    reached = enough.any(1)
    thresholds = np.where(reached, GRID[enough.argmax(1)], np.inf)
    return thresholds, [None if reached[n] else _why(kept[n], right[n], precision) for n in range(crops.labels)]


def design_effect(crops: Kept) -> float:
    """How many crops of one location count as one, at least 1: 1 + (crops per location - 1) * correlation.

    Source: Kish 1965, "Survey sampling", with locations of unequal size; the correlation within locations by the
    moments of each location's surplus of right crops over what their labels and confidences promise.
    """
    if crops.groups < 2:
        return float(max(len(crops.given), 1))
    confidence = crops.confidence.astype(np.float64)
    off = crops.right - confidence
    named = np.maximum(np.bincount(crops.given, minlength=crops.labels), 1)
    of_label = np.bincount(crops.given, off, crops.labels) / named
    surplus = np.bincount(crops.group, off - of_label[crops.given], crops.groups)
    unit = np.bincount(crops.group, np.maximum(confidence * (1 - confidence), 1e-4), crops.groups)
    n = np.bincount(crops.group, minlength=crops.groups)
    excess = ((surplus**2 - unit) / n).sum() / np.maximum((unit * (n - 1) / n).sum(), 1e-12)
    there = group_counts(crops.group, crops.given, crops.groups, crops.labels)
    size = (there**2).sum() / there.sum()  # crops of one label at one location, as a crop meets them
    return float(1 + np.clip(excess, 0, 1) * max(size - 1, 0))


def outcome(crops: Kept, thresholds: Real) -> Outcome:
    """Precision and coverage of the crops that reach their label's threshold.

    Args:
        crops: Of any split.
        thresholds: (L,), infinite where a label always needs a person.
    """
    above = crops.above(thresholds).astype(np.float64)
    named = group_counts(crops.group, crops.given, crops.groups, crops.labels)
    kept = group_counts(crops.group, crops.given, crops.groups, crops.labels, above)
    right = group_counts(crops.group, crops.given, crops.groups, crops.labels, above * crops.right)
    precision, coverage = _shares(right, kept), _shares(kept, named)
    return Outcome(_with_all(named), _with_all(kept), *precision, *coverage)


def _shares(part: Real, whole: Real) -> tuple[Real, Real, Real]:
    """Shares with their intervals, (L + 1,) each: of every label, and of all together, which stand on their own."""
    each = intervals.ratio_spread(part, whole)
    all_together = intervals.ratio_spread(part.sum(1, keepdims=True), whole.sum(1, keepdims=True))
    ends = zip(intervals.each(each), intervals.each(all_together), strict=True)
    low, high = (np.append(of_each, of_all) for of_each, of_all in ends)
    return np.append(each.value, all_together.value), low, high


def _with_all(counts: Real) -> NDArray[np.int64]:
    """(L + 1,) sums of (G, L) counts over groups, and over everything."""
    return np.append(counts.sum(0), counts.sum()).astype(np.int64)


def in_words(
    wished: float,
    precision: tuple[float | None, float | None, float | None],
    coverage: tuple[float | None, float | None, float | None],
    never: Sequence[str],
    split: str,
) -> str:
    """What the thresholds save and whether they hold, in one sentence.

    Args:
        wished: The precision they were chosen for, on val.
        precision, coverage: What they give in `split`: value, low, high; None where undefined.
        never: Labels that never reach the precision.
    """
    if coverage[0] is None:
        return f"at {wished:.0%} precision: no {split} crops to try the thresholds on."
    held = f" (chosen on val; at {split} {_share(*precision)})" if precision[0] is not None else ""
    sentence = f"at {wished:.0%} precision{held}, {_share(*coverage)} of {split} crops need no person"
    if not never:
        return f"{sentence}; every label reaches it."
    shown = ", ".join(never[:12]) + (" ..." if len(never) > 12 else "")
    verb = "1 label never reaches" if len(never) == 1 else f"{len(never)} labels never reach"
    return f"{sentence}; {verb} it: {shown}."


def _share(value: float | None, low: float | None, high: float | None) -> str:
    """As in "71% (62 to 79%)", the interval where there is one."""
    return f"{value or 0:.0%}" + (f" ({100 * low:.0f} to {high:.0%})" if low is not None and high is not None else "")


def reason_of(interval_low: float, value: float, undefined: str) -> str | None:
    """Why a figure of an Outcome, or its interval, is missing."""
    if np.isnan(value):
        return undefined
    return FEW_GROUPS if np.isnan(interval_low) else None


def _why(kept: Ints, right: Ints, precision: float) -> str:
    if kept[0] < MIN_KEPT:
        return f"only {kept[0]} val crops were named so: too few to choose a threshold"
    most = np.flatnonzero(kept >= MIN_KEPT)[-1]
    return (
        f"{precision:.0%} precision is not shown at any confidence on val: of the {kept[most]} surest crops "
        f"(confidence from {GRID[most]:.2f}) {right[most]} are right"
    )
