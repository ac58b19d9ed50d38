"""Which labels can be true where: the probability of all others is taken away, and the rest made to sum to 1.

By Bayes that is what calibrated probabilities become once it is known that a label cannot be. It is not believed where
most of the probability goes: what is left of a classifier that is sure of something else says little.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from trapline.core.errors import InputError
from trapline.core.metrics import Floats

MOST_REMOVED = 0.5
"""A box that loses more probability than this always needs a person."""


@dataclass(frozen=True)
class Allowed:
    """A list of labels, for everywhere or for places.

    Args:
        labels: L names.
        everywhere: (L,) allowed at every place.
        at: Location -> (L,) allowed there, those of everywhere included.
    """

    labels: Sequence[str]
    everywhere: NDArray[np.bool_]
    at: Mapping[str, NDArray[np.bool_]]

    def of(self, locations: pl.Series) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """(n,) the number of every row's list, and (P + 1, L) the lists; the last allows everything.

        That is the list of locations of which nothing is said: there is no label for everywhere, and none for them.
        """
        names = list(self.at)
        masks = np.vstack([*(self.at[name] for name in names), self.everywhere, np.ones(len(self.labels), np.bool_)])
        number = {name: n for n, name in enumerate(names)}
        rest = len(names) if self.everywhere.any() else len(names) + 1
        return np.array([number.get(name, rest) for name in locations], np.int64), masks


def settle(listed: pl.DataFrame, labels: Sequence[str], regions: Mapping[str, str]) -> Allowed:
    """A list of labels, held against those of a classifier.

    Args:
        listed: label, location, region: both null for everywhere.
        labels: L labels of the classifier.
        regions: Location -> region.

    Raises:
        InputError: Labels that the classifier does not know (names the nearest), or regions that no location lies in;
            lists every one.
    """
    problems = []
    for label in listed["label"].unique(maintain_order=True):
        if label not in labels:
            near = difflib.get_close_matches(label, labels, 1, 0.5) or difflib.get_close_matches(
                label.casefold(), [name.casefold() for name in labels], 1, 0.5
            )
            hint = f"; did you mean {near[0]}?" if near else ""
            problems.append(f"{label!r} is no label of the classifier{hint}")
    there = set(regions.values())
    for region in listed["region"].drop_nulls().unique(maintain_order=True):
        if region not in there:
            near = difflib.get_close_matches(region, sorted(there), 1, 0.5)
            hint = f"did you mean {near[0]}?" if near else "name each location's region with --locations FILE"
            problems.append(f"no location is known to lie in the region {region!r}: {hint}")
    if problems:
        raise InputError(
            f"the list of allowed labels has {len(problems)} problem(s) (the classifier's labels: "
            f"{', '.join(labels[:20])}{' ...' if len(labels) > 20 else ''}):",
            problems,
        )

    def mask(rows: pl.DataFrame) -> NDArray[np.bool_]:
        return np.isin(np.array(labels), rows["label"].to_numpy())

    everywhere = mask(listed.filter(pl.col("location").is_null() & pl.col("region").is_null()))
    named = set(listed["location"].drop_nulls()) | {
        place for place, region in regions.items() if region in set(listed["region"].drop_nulls())
    }
    at = {}
    for place in sorted(named):
        here = (pl.col("location") == place).fill_null(False)
        if place in regions:
            here |= (pl.col("region") == regions[place]).fill_null(False)
        at[place] = everywhere | mask(listed.filter(here))
    return Allowed(list(labels), everywhere, at)


def restrict(scores: Floats, allowed: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Probabilities of allowed labels alone, and what was taken away.

    Args:
        scores: (n, L) calibrated probabilities.
        allowed: (n, L), at least one per row.

    Returns:
        (n, L) summing to 1, even over the allowed labels where these had nothing; and (n,) the probability that labels
        that are not allowed had.
    """
    left = np.where(allowed, scores, 0).astype(np.float32)
    total = left.sum(1, keepdims=True)
    even = allowed / np.maximum(allowed.sum(1, keepdims=True), 1)
    kept = np.where(total > 0, left / np.where(total > 0, total, 1), even).astype(np.float32)
    return kept, np.clip(scores.sum(1) - total[:, 0], 0, 1).astype(np.float32)
