"""Learning curves: what more places, or more crops of each place, would bring."""

from dataclasses import dataclass

import numpy as np

LEAST_SHARE = 0.25  # the law is fitted from here on: with very little data curves bend


@dataclass(frozen=True)
class Gain:
    """What twice as much would bring, as the curve goes.

    Args:
        value: Of macro recall, 0..1.
        low, high: 95% interval over divisions of the places into learnt from and held out.
    """

    value: float
    low: float
    high: float

    def words(self) -> str:
        """In points (hundredths of macro recall)."""
        value, low, high = (f"{round(100 * part, 1) + 0.0:+.1f}" for part in (self.value, self.low, self.high))
        return f"{value} points ({low} to {high})"


def doubled(sizes: np.ndarray, recalls: np.ndarray) -> Gain:
    """The gain of twice the data, extrapolated by a power law of the error, which every division fits by itself.

    Args:
        sizes: [divisions, k] of the data learnt from, > 0, the last the whole; those of less than LEAST_SHARE of it
            are left out.
        recalls: [divisions, k] macro recall at places held out, 0..1; at least two divisions.

    Source: errors fall as a power of the number of examples, Cortes et al. 1994, "Learning Curves: Asymptotic Values
    and Rate of Convergence"; here without an asymptote, which so few points cannot tell. The interval is Student's.
    """
    from scipy.stats import t

    gains = np.array([_doubled(size, recall) for size, recall in zip(sizes, recalls, strict=True)])
    n = len(gains)
    half = float(t.ppf(0.975, n - 1)) * gains.std(ddof=1) / np.sqrt(n)
    mean = float(gains.mean())
    return Gain(mean, mean - half, mean + half)


def _doubled(sizes: np.ndarray, recalls: np.ndarray) -> float:
    x = np.log2(sizes / sizes[-1])
    used = x >= np.log2(LEAST_SHARE) - 1e-9
    if len(np.unique(x[used])) < 2:
        return 0.0  # nothing was left out: places with one burst each
    slope, now = np.polyfit(x[used], np.log2(np.clip(1 - recalls[used], 1e-3, 1.0)), 1)
    return float(2.0**now * (1 - 2.0**slope))
