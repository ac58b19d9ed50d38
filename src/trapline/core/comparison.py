"""Two classifiers on the same crops: which is better, and whether that is more than chance. Paired."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trapline.core import intervals, metrics
from trapline.core.metrics import Ints, Real


@dataclass(frozen=True)
class Difference:
    """One figure of both, and B's less A's with its 95% interval over locations.

    Args:
        name: macro_recall, accuracy or log_loss.
        a, b: The figure of each; None without crops.
        value, low, high: b - a; None where undefined.
        reason: Why value or its interval is None.
    """

    name: str
    a: float | None
    b: float | None
    value: float | None
    low: float | None
    high: float | None
    reason: str | None


def differences(
    truth: Ints, predicted_a: Ints, predicted_b: Ints, losses_a: Real, losses_b: Real, group: Ints, labels: int
) -> list[Difference]:
    """Compare two classifiers on n crops, crop by crop: what both find hard does not widen the interval.

    Args:
        truth: (n,) label numbers.
        predicted_a, predicted_b: (n,) the label that each gave.
        losses_a, losses_b: (n,) each one's negative log-probability of the true label.
        group: (n,) numbers of the groups, 0..G-1.
        labels: L.

    Source: the difference of two ratios with one denominator is a ratio of differences, so that the interval is the
    one of core.intervals for values of -1, 0 and 1 per crop (and of any size for losses).
    """
    right_a, right_b = (predicted_a == truth).astype(np.float64), (predicted_b == truth).astype(np.float64)
    found = []
    for name, a, b, whole in (
        ("macro_recall", right_a, right_b, False),
        ("accuracy", right_a, right_b, True),
        ("log_loss", losses_a, losses_b, True),
    ):
        found.append(_difference(name, truth, a, b, group, labels, whole=whole))
    return found


def _difference(name: str, truth: Ints, a: Real, b: Real, group: Ints, labels: int, *, whole: bool) -> Difference:
    if not len(truth):
        return Difference(name, None, None, None, None, None, "no crops that both scored at held-out locations")
    groups = int(group.max()) + 1

    def sums(values: Real | None) -> Real:
        found = metrics.group_counts(group, truth, groups, labels, values)
        return found.sum(1, keepdims=True) if whole else found

    crops = sums(None)
    apart = intervals.ratio_spread(sums(b - a), crops, sums((b - a) ** 2))
    low, high = intervals.mean(apart, "signed")
    each = [metrics.macro(sums(values).sum(0) / np.where(crops.sum(0) > 0, crops.sum(0), np.nan)) for values in (a, b)]
    known = not np.isnan(low)
    return Difference(
        name, each[0], each[1], each[1] - each[0],
        low if known else None, high if known else None, None if known else intervals.FEW_GROUPS,
    )  # fmt: skip


def in_words(a: str, b: str, macro_recall: Difference, crops: int, locations: int) -> str:
    """The macro recalls compared in one sentence that a biologist can quote."""
    found = macro_recall
    if found.a is None or found.b is None or found.value is None:
        return f"{a} and {b} cannot be compared: {found.reason}."
    where = f"At {locations:,} location{'' if locations == 1 else 's'} that neither had seen ({crops:,} crops)"
    points = abs(100 * found.value)
    both = f"{b} named {found.b:.1%} of each label's crops right on average and {a} {found.a:.1%}"
    if found.low is None or found.high is None:
        return f"{where}, {both}; whether that is more than chance cannot be said: {found.reason}."
    ends = 100 * found.low, 100 * found.high
    if found.low > 0 or found.high < 0:
        better, other = (b, a) if found.value > 0 else (a, b)
        ends = ends if found.value > 0 else (-ends[1], -ends[0])
        return (
            f"{where}, {both}: {better} is better than {other} by {points:.1f} percentage points "
            f"(95% interval {ends[0]:.1f} to {ends[1]:.1f}), more than chance would give."
        )
    return (
        f"{where}, {both}: the difference of {100 * found.value:+.1f} percentage points is within what chance gives "
        f"(95% interval {ends[0]:+.1f} to {ends[1]:+.1f})."
    )


def label_numbers(*columns: Sequence[str]) -> tuple[list[str], list[Ints]]:
    """All names that occur, sorted, and every column as their numbers."""
    names = sorted({name for column in columns for name in column})
    number = {name: n for n, name in enumerate(names)}
    return names, [np.array([number[name] for name in column], np.int64) for column in columns]
