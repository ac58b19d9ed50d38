"""The split benchmark's formulas word for word and without numpy, and its real counts."""

import csv
from pathlib import Path

import numpy as np
import pytest

from trapline.core.splitting import TEST, TRAIN, VAL

SPLITS = Path(__file__).parents[1] / "../shared/data/splits"


def slow_score(counts, assignment, fractions):
    """The formula of the split benchmark, word for word and without numpy."""
    total = 0.0
    for s, target in enumerate(fractions):
        for label in range(len(counts[0])):
            crops = sum(row[label] for row in counts)
            locations = sum(1 for row in counts if row[label] > 0)
            if not crops:
                continue
            crops_in = sum(row[label] for row, place in zip(counts, assignment, strict=True) if place == s)
            locations_in = sum(
                1 for row, place in zip(counts, assignment, strict=True) if place == s and row[label] > 0
            )
            total += 2 * (crops_in / crops - target) ** 2 + (locations_in / locations - target) ** 2
    return total


def slow_missing(counts, assignment, fractions):
    """Labels with enough groups for every wished-for split that are absent from one; too rare: train, then test."""
    wished = [s for s in (TRAIN, TEST, VAL) if fractions[s] > 0]
    total = 0
    for label in range(len(counts[0])):
        groups = [place for row, place in zip(counts, assignment, strict=True) if row[label] > 0]
        total += sum(1 for s in wished[: len(groups)] if s not in groups)
    return total


def read_counts(name):
    path = SPLITS / name
    if not path.exists():
        pytest.skip(f"real split counts are absent: {path} (they lie beside the checkout in ../shared/data)")
    with open(path) as stream:
        rows = list(csv.reader(stream))[1:]
    return np.array([[float(value) for value in row[1:]] for row in rows])
