"""A classifier's labels brought to other labels: probabilities of those that become one are summed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from trapline.core.errors import InputError
from trapline.core.metrics import Floats

OTHER = "other"
CHUNK = 65_536  # rows at a time, so that no second matrix of all scores is held


@dataclass(frozen=True)
class LabelSums:
    """What becomes of each label of a classifier.

    Args:
        targets: T names, in the order in which they were given.
        of: Each of the classifier's labels -> its target. Names that only examples bear may be among the keys.
        labels: L labels of the classifier, in its order.
    """

    targets: Sequence[str]
    of: Mapping[str, str]
    labels: Sequence[str]

    def sum(self, scores: Floats) -> Floats:
        """(n, L) probabilities -> (n, T): each target has those of its labels together; float32."""
        onto = np.zeros((len(self.labels), len(self.targets)), np.float32)
        for n, label in enumerate(self.labels):
            onto[n, list(self.targets).index(self.of[label])] = 1
        summed = np.empty((len(scores), len(self.targets)), np.float32)
        for start in range(0, len(scores), CHUNK):
            summed[start : start + CHUNK] = scores[start : start + CHUNK] @ onto
        return summed

    def rename(self, labels: pl.Expr) -> pl.Expr:
        """True labels as targets: a target stays what it is, a label of the classifier becomes its target, and what
        the mapping does not name stays too (and is left out as unknown)."""
        moved = {label: target for label, target in self.of.items() if label not in self.targets}
        return labels.replace(moved) if moved else labels


def label_sums(mapping: Mapping[str, Sequence[str]], labels: Sequence[str], known: Sequence[str]) -> LabelSums:
    """Settle a mapping from targets to labels.

    Labels of the classifier that the mapping does not name become "other", as the reference chain has it.

    Args:
        mapping: Target -> labels of the classifier that become it.
        labels: L labels of the classifier.
        known: Labels of the examples: they too may be named.

    Raises:
        InputError: A label has two targets, or a name is neither a label of the classifier nor of the examples; lists
            every one.
    """
    of: dict[str, str] = {}
    problems = []
    there = {*labels, *known}
    for target, names in mapping.items():
        for name in names:
            if of.get(name, target) != target:
                problems.append(f"{name!r} becomes both {of[name]!r} and {target!r}")
            elif name not in there:
                problems.append(f"{name!r}, for {target!r}, is a label neither of the classifier nor of the examples")
            of.setdefault(name, target)
    if problems:
        raise InputError(f"the target mapping has {len(problems)} problem(s):", problems)
    targets = list(mapping)
    if any(label not in of for label in labels) and OTHER not in targets:
        targets.append(OTHER)
    of |= {label: OTHER for label in labels if label not in of}
    return LabelSums(targets, of, list(labels))
