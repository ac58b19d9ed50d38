"""How good scores are where a crop may have any number of labels, each there or not by itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from trapline.core import intervals, metrics, scorecard
from trapline.core.metrics import Floats, Ints, Real
from trapline.core.scorecard import Figure, Tally, figure

SAID = 0.5  # a label is said to be there from this score on
NO_LABEL = "(no label)"


@dataclass(frozen=True)
class Several:
    """n scored crops of one split.

    Args:
        truth: (n, L) whether each label is there.
        scores: (n, L) each label's own probability.
        group: (n,) numbers of the groups, 0..G-1, all of which occur.
        labels: L names.
        split: Its name, for the reasons.
    """

    truth: NDArray[np.bool_]
    scores: Floats
    group: Ints
    labels: Sequence[str]
    split: str

    @cached_property
    def said(self) -> NDArray[np.bool_]:
        """(n, L) whether each label is said to be there."""
        return self.scores >= SAID

    @cached_property
    def tally(self) -> Tally:
        """Counts by group and label."""
        hits = self._by_group(self.truth & self.said)
        return Tally(
            len(self.truth), self._by_group(self.truth), hits, self._by_group(self.said), self.labels, self.split
        )

    def _by_group(self, values: NDArray[np.bool_]) -> Real:
        groups = int(self.group.max()) + 1 if len(self.group) else 0
        sums = np.zeros((groups, values.shape[1]))
        np.add.at(sums, self.group, values.astype(np.float64))
        return sums


def several_scorecard(scored: Several) -> list[Figure]:
    """All figures of a split: mean average precision, recall, precision and F1, overall and per label.

    `exact_match` is the share of crops of which all labels are said right; `macro_chance_precision` what average
    precision a label by lot would have: its share of the crops.
    """
    tally, count = scored.tally, len(scored.truth)
    groups = len(tally.crops)
    counts = {
        "crops": count,
        "groups": groups,
        "labels": int((tally.support > 0).sum()),
        "labels_per_crop": float(tally.support.sum() / count) if count else float("nan"),
        "macro_chance_precision": metrics.macro(np.where(tally.support > 0, tally.support / max(count, 1), np.nan)),
    }
    rows = [scorecard.plain(name, value, count) for name, value in counts.items()]
    averages, per_label = scorecard.naming(tally)
    ap, ap_per_label = scorecard.average_precisions(
        tally, scored.scores, scored.group, lambda label: scored.truth[:, label]
    )
    where = [
        Figure("groups", label, float(n), None, None, int(support), None)
        for label, n, support in zip(scored.labels, (tally.crops > 0).sum(0), tally.support, strict=True)
    ]
    return [*_exact(scored), *_recall(scored), *ap, *averages, *rows, *per_label, *ap_per_label, *where]


def _exact(scored: Several) -> list[Figure]:
    if not len(scored.truth):
        return [Figure("exact_match", "", None, None, None, 0, scorecard.NO_CROPS)]
    right = (scored.truth == scored.said).all(1)
    crops = np.bincount(scored.group).astype(np.float64)
    hits = np.bincount(scored.group, right.astype(np.float64)).astype(np.float64)
    found = intervals.ratio_spread(hits[:, None], crops[:, None])
    ends = intervals.mean(found)
    return [figure("exact_match", "", float(found.value[0]), *ends, len(right), scorecard.NO_CROPS)]


def _recall(scored: Several) -> list[Figure]:
    if not len(scored.truth):
        return [Figure("macro_recall", "", None, None, None, 0, scorecard.NO_CROPS)]
    found = intervals.ratio_spread(scored.tally.hits, scored.tally.crops)
    ends = intervals.mean(found)
    count = len(scored.truth)
    return [figure("macro_recall", "", metrics.macro(found.value), *ends, count, "no crop with a label")]


def names_of(matrix: NDArray[np.bool_], labels: Sequence[str]) -> list[str]:
    """(n,) the labels of each crop in words: "fox + owl"."""
    return [" + ".join(labels[int(n)] for n in np.flatnonzero(row)) or NO_LABEL for row in matrix]
