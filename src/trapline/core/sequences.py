"""Bursts as one: a sequence's crops are judged together, by the calibrated scores of all of them.

The mean of log-probabilities is what crops that err independently would give, but for its strength: dividing by their
number allows for their being near copies of one another.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trapline.core.metrics import Floats, Ints, Real

Rule = Literal["mean_log", "mean", "surest"]
CHUNK = 65_536  # rows at a time
FLOOR = np.float32(1e-12)  # of probabilities, below which their logarithm is taken to lie


@dataclass(frozen=True)
class Sequences:
    """S sequences.

    Args:
        of: (n,) each crop's sequence number.
        predicted: (S,) label numbers.
        confidence: (S,) that label's score.
        truth: (S,) the label of its crops; -1 where they have several.
        group: (S,) group numbers.
    """

    of: NDArray[np.int64]
    predicted: NDArray[np.int64]
    confidence: Real
    truth: NDArray[np.int64]
    group: Ints


def aggregate(scores: Floats, truth: Ints, group: Ints, sequence: Ints, rule: Rule = "mean_log") -> Sequences:
    """Judge every sequence by all its crops.

    Args:
        scores: (n, L) calibrated probabilities.
        truth: (n,) label numbers.
        group: (n,) group numbers; a sequence lies in one group.
        sequence: (n,) sequence numbers 0..S-1, in rising order, all of which occur.
        rule: mean_log: the mean of log-probabilities. mean: the mean of probabilities. surest: the crop with the
            highest score decides.
    """
    starts = np.flatnonzero(np.diff(sequence, prepend=-1))
    count = len(starts)
    predicted, confidence = np.empty(count, np.int64), np.empty(count)
    for own, rows in pieces(starts, len(scores)):
        joined = _join(scores[rows], starts[own] - rows.start, rule)
        best = joined.argmax(1)
        predicted[own] = best
        confidence[own] = joined[np.arange(len(best)), best]
    low, high = (np.minimum.reduceat(truth, starts), np.maximum.reduceat(truth, starts)) if count else (truth, truth)
    return Sequences(
        of=np.repeat(np.arange(count), np.diff(starts, append=len(sequence))),
        predicted=predicted,
        confidence=confidence,
        truth=np.where(low == high, low, -1),
        group=group[starts],
    )


def probabilities(scores: Floats, sequence: Ints, rule: Rule = "mean_log") -> Floats:
    """(S, L) what all crops of every sequence say together; the arguments are those of `aggregate`."""
    starts = np.flatnonzero(np.diff(sequence, prepend=-1))
    found = np.empty((len(starts), scores.shape[1]), np.float32)
    for own, rows in pieces(starts, len(scores)):
        found[own] = _join(scores[rows], starts[own] - rows.start, rule)
    return found


def pieces(starts: Ints, n: int) -> Iterator[tuple[slice, slice]]:
    """Sequences and their rows, about CHUNK rows at a time; pieces end where a sequence does.

    Args:
        starts: (S,) the first row of every sequence.
        n: Rows.
    """
    count = len(starts)
    bounds = np.unique(np.append(np.searchsorted(starts, np.arange(0, n, CHUNK)), count)).tolist()
    for first, after in pairwise(bounds):
        yield slice(first, after), slice(int(starts[first]), int(starts[after]) if after < count else n)


def _join(scores: Floats, starts: Ints, rule: Rule) -> Floats:
    """(s, L) one row of probabilities per sequence."""
    sizes = np.diff(starts, append=len(scores))[:, None]
    if rule == "mean":
        return np.add.reduceat(scores, starts) / sizes
    if rule == "surest":
        of = np.repeat(np.arange(len(starts)), sizes[:, 0])
        return scores[np.lexsort((-scores.max(1), of))[starts]]
    joined = np.add.reduceat(np.log(np.maximum(scores, FLOOR)), starts) / sizes.astype(np.float32)
    joined -= joined.max(1, keepdims=True)
    np.exp(joined, out=joined)
    return joined / joined.sum(1, keepdims=True)
