"""From probabilities to answers: of every box alone, of its burst, and of the box within its burst."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trapline.core import allowed, rollup, sequences
from trapline.core.metrics import Floats, Ints, Real
from trapline.core.rollup import Answers, Ladder
from trapline.core.sequences import Rule


@dataclass(frozen=True)
class Judged:
    """n boxes in S sequences.

    Args:
        alone: Answers of boxes, each by itself.
        burst: Answers of sequences, (S,).
        within: Answers of boxes in their sequence: the sequence's, but for boxes that are sure of something else.
        likeliest, second: (n,) label numbers, the most probable and the next.
        first_p, second_p: (n,) their probabilities.
        burst_likeliest: (S,) label numbers.
        removed: (n,) probability of labels that are not allowed; zeros without a list.
    """

    alone: Answers
    burst: Answers
    within: Answers
    likeliest: NDArray[np.int64]
    second: NDArray[np.int64]
    first_p: Floats
    second_p: Floats
    burst_likeliest: NDArray[np.int64]
    removed: Floats


def judge(
    scores: Floats,
    sequence: Ints,
    steps: Ladder,
    least: Real,
    *,
    rule: Rule = "mean_log",
    lists: tuple[Ints, NDArray[np.bool_]] | None = None,
) -> Judged:
    """Answer for every box and every sequence.

    A box whose burst is sure bears the burst's answer, so that a blurred frame is what the others of the burst are. A
    box that is sure by itself of what the burst's answer rules out keeps its own: there may be two species. Where
    labels that are not allowed had more than half of the probability, there is no answer.

    Args:
        scores: (n, L) calibrated probabilities; two labels and more.
        sequence: (n,) sequence numbers 0..S-1, in rising order, all of which occur.
        steps: The answers there are.
        least: (A,) their thresholds.
        rule: How a sequence's boxes are joined.
        lists: (n,) number of each box's list of allowed labels, and (P, L) the lists.
    """
    n, unsure = len(scores), len(least)
    starts = np.flatnonzero(np.diff(sequence, prepend=-1))
    count = len(starts)
    alone, burst = _blank(n), _blank(count)
    likeliest, second = np.empty(n, np.int64), np.empty(n, np.int64)
    first_p, second_p, removed = (np.zeros(n, np.float32) for _ in range(3))
    burst_likeliest = np.empty(count, np.int64)
    for bursts, rows in sequences.pieces(starts, n):
        piece, own = scores[rows], sequence[rows] - bursts.start
        if lists is not None:
            piece, removed[rows] = allowed.restrict(piece, lists[1][lists[0][rows]])
        # What was taken away counts for the burst, too: its mean decides.
        lost = np.bincount(own, removed[rows]) / np.bincount(own)
        joined = sequences.probabilities(piece, own, rule)
        for found, part, values, share in (
            (alone, rows, piece, removed[rows]),
            (burst, bursts, joined, lost),
        ):
            made = rollup.answer(values, steps, least)
            found.number[part] = np.where(share > allowed.MOST_REMOVED, unsure, made.number)
            found.confidence[part] = np.where(share > allowed.MOST_REMOVED, values.max(1), made.confidence)
        two = np.argsort(-piece, axis=1, kind="stable")[:, :2]
        at = np.arange(len(piece))
        likeliest[rows], second[rows] = two[:, 0], two[:, 1]
        first_p[rows], second_p[rows] = piece[at, two[:, 0]], piece[at, two[:, 1]]
        burst_likeliest[bursts] = joined.argmax(1)
    within = _within(alone, burst, sequence, steps)
    return Judged(alone, burst, within, likeliest, second, first_p, second_p, burst_likeliest, removed)


def _blank(n: int) -> Answers:
    return Answers(np.empty(n, np.int64), np.empty(n, np.float32))


def _within(alone: Answers, burst: Answers, sequence: Ints, steps: Ladder) -> Answers:
    holds = steps.holds.astype(np.int64)
    agree = (holds @ holds.T) > 0  # whether two answers can both be true
    unsure = len(holds) - 1
    given, said = burst.number[sequence], alone.number
    own = (given == unsure) | ((said != unsure) & ~agree[said, given])
    return Answers(np.where(own, said, given), np.where(own, alone.confidence, burst.confidence[sequence]))
