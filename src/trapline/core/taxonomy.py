"""Labels at coarser levels: genus, family and whatever else a taxonomy names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trapline.core.metrics import Floats, Ints

CHUNK = 65_536


@dataclass(frozen=True)
class Level:
    """One level of a taxonomy.

    Args:
        name: Such as family.
        taxa: T names, sorted.
        of: (L,) the taxon number of every label.
    """

    name: str
    taxa: Sequence[str]
    of: NDArray[np.int64]


def levels(labels: Sequence[str], taxonomy: Mapping[str, Mapping[str, str]]) -> list[Level]:
    """The levels at which labels fall together, finest (most taxa) first.

    Args:
        labels: L names.
        taxonomy: Level -> label -> taxon. A label without a taxon at a level (a vehicle has no family; "bird" has no
            genus) stands for itself there.

    Returns:
        Levels with fewer taxa than labels; the others say what the labels say.
    """
    found = []
    for name, taxon_of in taxonomy.items():
        names = [taxon_of.get(label) or label for label in labels]
        taxa = sorted(set(names))
        if len(taxa) < len(labels):
            number = {taxon: n for n, taxon in enumerate(taxa)}
            found.append(Level(name, taxa, np.array([number[taxon] for taxon in names], np.int64)))
    return sorted(found, key=lambda level: -len(level.taxa))


def predicted_at(level: Level, scores: Floats) -> Ints:
    """The taxon with the highest summed score of every crop, (n,).

    Args:
        scores: (n, L) probabilities.
    """
    order = np.argsort(level.of, kind="stable")
    starts = np.flatnonzero(np.diff(level.of[order], prepend=-1))
    found = np.empty(len(scores), np.int64)
    for start in range(0, len(scores), CHUNK):
        part = scores[start : start + CHUNK][:, order]
        found[start : start + CHUNK] = np.add.reduceat(part, starts, axis=1).argmax(1)
    return found
