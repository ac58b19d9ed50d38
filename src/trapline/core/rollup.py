"""Roll-up: where a species is not sure enough, the lowest taxon that is ("Canidae" rather than a wrong fox).

The probability of a taxon is the sum of its labels'. An answer is looked for rung by rung, labels first, then taxa of
ever coarser levels: the first whose probability reaches its threshold is given; where none does, the answer is unsure.
A taxon's threshold is chosen on val like a label's, among the crops that no finer rung has answered: those are the hard
ones, and easy crops of the same taxon would make them look right more often than they are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trapline.core import thresholds
from trapline.core.metrics import Floats, Ints, Real
from trapline.core.taxonomy import levels
from trapline.core.thresholds import Kept, Outcome

UNSURE = "unsure"
LABEL = "label"
CHUNK = 65_536  # rows at a time


@dataclass(frozen=True)
class Rung:
    """Answers of one level.

    Args:
        level: `label`, or a level of the taxonomy.
        names: T of them.
        of: (L,) the number of every label's taxon; -1 where the label is of none on this rung.
        first: Number of the rung's first answer among those of the whole ladder.
    """

    level: str
    names: Sequence[str]
    of: NDArray[np.int64]
    first: int


@dataclass(frozen=True)
class Ladder:
    """All answers that can be given, A of them, finest first; number A means unsure.

    Args:
        labels: L names.
        rungs: The first holds the labels themselves.
    """

    labels: Sequence[str]
    rungs: Sequence[Rung]

    @property
    def names(self) -> list[str]:
        """Of every answer, unsure last."""
        return [*(name for rung in self.rungs for name in rung.names), UNSURE]

    @property
    def levels(self) -> list[str]:
        """Of every answer; "" for unsure."""
        return [*(rung.level for rung in self.rungs for _ in rung.names), ""]

    @property
    def holds(self) -> NDArray[np.bool_]:
        """(A + 1, L) whether a label is what the answer says, or one of its taxon; unsure says nothing."""
        parts = [rung.of[None, :] == np.arange(len(rung.names))[:, None] for rung in self.rungs]
        return np.vstack([*parts, np.zeros((1, len(self.labels)), np.bool_)])


@dataclass(frozen=True)
class Answers:
    """n answers.

    Args:
        number: (n,) of the answer; A for unsure.
        confidence: (n,) its probability; of unsure that of the likeliest label.
    """

    number: NDArray[np.int64]
    confidence: Floats


def ladder(labels: Sequence[str], taxonomy: Mapping[str, Mapping[str, str]]) -> Ladder:
    """The answers that a taxonomy allows beyond the labels.

    A taxon of one label says what the label says, one with the labels of a finer taxon what that says, and one of all
    labels nothing: they are passed over.

    Args:
        labels: L names.
        taxonomy: Level -> label -> taxon.
    """
    rungs = [Rung(LABEL, list(labels), np.arange(len(labels)), 0)]
    known = {frozenset(range(len(labels)))}
    first = len(labels)
    for level in levels(labels, taxonomy):
        names, of = [], np.full(len(labels), -1, np.int64)
        for number, taxon in enumerate(level.taxa):
            members = frozenset(np.flatnonzero(level.of == number).tolist())
            if len(members) > 1 and members not in known:
                known.add(members)
                of[list(members)] = len(names)
                names.append(taxon)
        if names:
            rungs.append(Rung(level.name, names, of, first))
            first += len(names)
    return Ladder(list(labels), rungs)


def answer(scores: Floats, steps: Ladder, least: Real) -> Answers:
    """The finest answer that is sure enough, of every row.

    Args:
        scores: (n, L) calibrated probabilities; a row that is not numbers is unsure.
        least: (A,) thresholds; infinite for answers that are never given.
    """
    unsure = len(least)
    number = np.full(len(scores), unsure, np.int64)
    confidence = scores.max(1) if len(scores) else np.zeros(0, np.float32)
    for rung in steps.rungs:
        open_rows = np.flatnonzero(number == unsure)
        best, probability = best_of(rung, scores, open_rows)
        sure = probability >= least[rung.first + best]
        number[open_rows[sure]] = rung.first + best[sure]
        confidence[open_rows[sure]] = probability[sure]
    return Answers(number, confidence)


def best_of(rung: Rung, scores: Floats, rows: Ints) -> tuple[NDArray[np.int64], Floats]:
    """The likeliest taxon of a rung, and its probability, of some rows.

    Args:
        scores: (n, L) probabilities.
        rows: (m,) row numbers.
    """
    onto = (rung.of[:, None] == np.arange(len(rung.names))).astype(np.float32)
    best, probability = np.empty(len(rows), np.int64), np.empty(len(rows), np.float32)
    for start in range(0, len(rows), CHUNK):
        part = slice(start, start + CHUNK)
        sums = scores[rows[part]] if rung.level == LABEL else scores[rows[part]] @ onto
        best[part] = sums.argmax(1)
        probability[part] = np.minimum(sums.max(1), 1)
    return best, probability


def choose(
    scores: Floats, truth: Ints, group: Ints, steps: Ladder, of_labels: Real, precision: float
) -> tuple[Real, dict[str, str]]:
    """Thresholds of every answer, from val.

    Args:
        scores: (n, L) calibrated probabilities of val crops.
        truth: (n,) label numbers.
        group: (n,) group numbers.
        of_labels: (L,) the labels' own thresholds, chosen before (core.thresholds.choose).
        precision: Wished share of an answer's crops that are right.

    Returns:
        (A,) thresholds, infinite where an answer never reaches the precision; and why, by its name.
    """
    least = np.full(len(steps.names) - 1, np.inf)
    least[: len(of_labels)] = of_labels
    why: dict[str, str] = {}
    for rung in steps.rungs[1:]:
        left = np.flatnonzero(answer(scores, steps, least).number == len(least))
        best, probability = best_of(rung, scores, left)
        right = rung.of[truth[left]] == best
        numbers = np.unique(group[left], return_inverse=True)[1]
        kept = Kept(best, probability, right, numbers, len(rung.names))
        found, reasons = thresholds.choose(kept, precision)
        least[rung.first : rung.first + len(rung.names)] = found
        why |= {name: reason for name, reason in zip(rung.names, reasons, strict=True) if reason is not None}
    return least, why


def outcome(found: Answers, truth: Ints, group: Ints, steps: Ladder) -> Outcome:
    """How often answers are right, and how many crops have one; per answer, unsure, and all together, (A + 2,).

    Args:
        found: Of any split.
        truth: (n,) label numbers.
        group: (n,) group numbers 0..G-1.
    """
    holds = steps.holds
    unsure = len(holds) - 1
    kept = Kept(found.number, np.ones(len(truth), np.float32), holds[found.number, truth], group, len(holds))
    return thresholds.outcome(kept, np.where(np.arange(len(holds)) == unsure, np.inf, 0.0))
