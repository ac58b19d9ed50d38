"""The same figures of parts of a split: every location, camera, hour of day, day and infrared."""

from collections.abc import Sequence

import numpy as np

from trapline.core import metrics
from trapline.core.metrics import Ints
from trapline.core.scorecard import Figure, Named, headline, plain

ONE_LOCATION = "one location: no interval over locations"
ONE_CAMERA = "one camera: no interval over locations"


def places(named: Named, place: Ints, count: int, reason: str) -> list[list[Figure]]:
    """accuracy, macro_recall (over the labels there) and labels of every place; no intervals, and `reason`.

    Args:
        named: n crops.
        place: (n,) numbers below `count`, all of which occur.
    """
    labels = len(named.labels)
    crops = metrics.group_counts(place, named.truth, count, labels)
    hits = metrics.group_counts(place, named.truth, count, labels, named.right.astype(np.float64))
    total = crops.sum(1)
    accuracy = hits.sum(1) / np.maximum(total, 1)
    there = (crops > 0).sum(1)
    recall = (hits / np.maximum(crops, 1)).sum(1) / np.maximum(there, 1)
    return [
        [
            Figure("accuracy", "", float(accuracy[n]), None, None, int(total[n]), reason),
            Figure("macro_recall", "", float(recall[n]), None, None, int(total[n]), reason),
            plain("labels", float(there[n]), int(total[n])),
        ]
        for n in range(count)
    ]


def parts(named: Named, part: Ints, names: Sequence[str]) -> list[tuple[str, list[Figure]]]:
    """Macro recall and accuracy, with intervals, of every part that has crops.

    Args:
        named: n crops.
        part: (n,) numbers of `names`; negative: of none.
    """
    found = []
    for n, name in enumerate(names):
        chosen = part == n
        if chosen.any():
            found.append((name, headline(named.part(chosen))))
    return found
