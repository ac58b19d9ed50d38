"""Whether a confidence of 80% means right four times in five: reliability in bins, and the calibration error."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trapline.core import intervals
from trapline.core.metrics import Floats, Ints, Real, group_counts

BINS = 15


@dataclass(frozen=True)
class Reliability:
    """Bins of equal width that hold crops; (B,) each.

    Args:
        bin: Number, 0 to BINS - 1: confidences from bin / BINS to (bin + 1) / BINS.
        crops: Crops in it.
        confidence: Their mean confidence.
        accuracy: The share of them named right; `low` and `high` its 95% interval, NaN below 10 groups.
        ece: Expected calibration error: the mean over crops of the bin's |accuracy - confidence|. NaN without crops.
        floor: What `ece` would be on average, from chance alone, if every confidence were exactly right and crops were
            independent. An `ece` near it says nothing against the confidences.

    Source: Guo et al. 2017, "On calibration of modern neural networks" (15 bins of equal width, top label).
    """

    bin: NDArray[np.int64]
    crops: NDArray[np.int64]
    confidence: Real
    accuracy: Real
    low: Real
    high: Real
    ece: float
    floor: float


def reliability(confidence: Floats, right: NDArray[np.bool_], group: Ints) -> Reliability:
    """Compare confidences with how often they are right.

    Args:
        confidence: (n,) probability of the label that each crop was given, 0 to 1.
        right: (n,) whether it is the true one.
        group: (n,) numbers of the groups, 0..G-1.
    """
    confidence = confidence.astype(np.float64)
    number = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    groups = int(group.max()) + 1 if len(group) else 0
    crops = group_counts(group, number, groups, BINS)
    hits = group_counts(group, number, groups, BINS, right.astype(np.float64))
    found = intervals.ratio_spread(hits, crops)
    low, high = intervals.each(found)
    total = crops.sum(0)
    held = total > 0
    mean = np.bincount(number, confidence, BINS)[held] / total[held]
    off = np.abs(found.value[held] - mean)
    # A bin's accuracy is off by a normal deviate of this variance; the mean of its absolute value is sqrt(2/pi) sd.
    variance = np.bincount(number, confidence * (1 - confidence), BINS)[held]
    n = max(len(confidence), 1)
    return Reliability(
        bin=np.flatnonzero(held),
        crops=total[held].astype(np.int64),
        confidence=mean,
        accuracy=found.value[held],
        low=low[held],
        high=high[held],
        ece=float((off * total[held]).sum() / n) if len(confidence) else float("nan"),
        floor=float(np.sqrt(2 / np.pi * variance).sum() / n) if len(confidence) else float("nan"),
    )
