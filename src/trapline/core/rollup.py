"""Roll-up: where a species is not sure enough, the lowest taxon that is ("Canidae" rather than a wrong fox).

The probability of a taxon is the sum of its labels'. An answer is looked for rung by rung, labels first, then taxa of
ever coarser levels: the first whose probability reaches its threshold is given; where none does, the answer is unsure.
A taxon's threshold is chosen on val like a label's, among the crops that no finer rung has answered: those are the hard
ones, and easy crops of the same taxon would make them look right more often than they are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from trapline.core import thresholds
from trapline.core.metrics import Floats, Ints, Real
from trapline.core.taxonomy import levels
from trapline.core.thresholds import Kept, Outcome

UNSURE = "unsure"
LABEL = "label"
CHUNK = 65_536  # rows at a time
LEAST = 0.5  # of a taxon's thresholds: an answer is likelier than not


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
        (A,) thresholds, infinite where an answer never reaches the precision; and why, by its name. A taxon's is not
        below the lowest probability at which val has shown it, nor below one half.
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
        lowest = np.full(len(rung.names), np.inf)
        np.minimum.at(lowest, best, probability)
        least[rung.first : rung.first + len(rung.names)] = np.maximum(found, np.maximum(lowest - 1e-6, LEAST))
        why |= {name: reason for name, reason in zip(rung.names, reasons, strict=True) if reason is not None}
    return least, why


@dataclass(frozen=True)
class Trial:
    """How answers did in one split: in a sentence, and in a table of a row per answer."""

    words: str
    table: pl.DataFrame


def trial(
    scores: Floats, truth: Ints, group: Ints, steps: Ladder, least: Real, why: Mapping[str, str], split: str
) -> Trial:
    """Try thresholds on a split's crops.

    Args:
        scores, truth, group: As for `choose`.
        least: (A,) thresholds.
        why: Why an answer has none, by name.

    Returns:
        Its table has the columns split, answer, level, labels, threshold, crops (so answered), precision, low, high
        (95% over locations), reason; and three rows of level "": all labels, all taxa, all answers.
    """
    found = answer(scores, steps, least)
    holds, levels_of, unsure = steps.holds, steps.levels, len(least)
    right = holds[found.number, truth]
    each = _outcome(found.number, right, group, unsure)
    kind = np.where(found.number == unsure, 2, found.number >= len(steps.labels))
    together = _outcome(kind, right, group, 2)
    rows = [
        (
            split,
            name,
            levels_of[n],
            "; ".join(np.array(steps.labels)[holds[n]]),
            float(least[n]),
            each,
            n,
            why.get(name),
        )
        for n, name in enumerate(steps.names[:-1])
    ]
    rows += [
        (split, name, "", "", float("inf"), together, n, None)
        for n, name in ((0, "all labels"), (1, "all taxa"), (-1, "all answers"))
    ]
    table = pl.DataFrame([_trial_row(*row) for row in rows], infer_schema_length=None)
    taxa, everything = table.row(-2, named=True), table.row(-1, named=True)
    answered = everything["crops"] / max(len(truth), 1)
    words = (
        f"roll-up at {split}: {taxa['crops']:,} of {len(truth):,} crops are given a taxon instead of a label"
        f"{_percent(taxa)}; {answered:.0%} of crops have an answer{_percent(everything)}"
    )
    return Trial(words, table)


def _percent(row: Mapping[str, object]) -> str:
    """As in ", 91% of them right (83 to 96%)"."""
    value, low, high = row["precision"], row["low"], row["high"]
    if not isinstance(value, float):
        return ""
    ends = f" ({100 * low:.0f} to {high:.0%})" if isinstance(low, float) and isinstance(high, float) else ""
    return f", {value:.0%} of them right{ends}"


def _trial_row(
    split: str, name: str, level: str, labels: str, least: float, found: Outcome, n: int, why: str | None
) -> dict[str, object]:
    def known(value: float) -> float | None:
        return float(value) if np.isfinite(value) else None

    reason = why or thresholds.reason_of(
        found.precision_low[n], found.precision[n], f"no {split} crops are answered so"
    )
    return {
        "split": split,
        "answer": name,
        "level": level,
        "labels": labels,
        "threshold": known(least),
        "crops": int(found.kept[n]),
        "precision": known(found.precision[n]),
        "low": known(found.precision_low[n]),
        "high": known(found.precision_high[n]),
        "reason": reason,
    }


def _outcome(number: Ints, right: NDArray[np.bool_], group: Ints, unsure: int) -> Outcome:
    """Of answers 0..unsure-1, unsure itself, and all together."""
    kept = Kept(number.astype(np.int64), np.ones(len(number), np.float32), right, group, unsure + 1)
    return thresholds.outcome(kept, np.where(np.arange(unsure + 1) == unsure, np.inf, 0.0))
