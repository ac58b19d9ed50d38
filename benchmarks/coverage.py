"""Coverage of 95% intervals over locations: the method of trapline.core.intervals beside the ones it was chosen over.

    uv run python benchmarks/coverage.py [--draws 2000]

Every draw is a test split of G locations: heavy-tailed sizes (lognormal), label mixtures that differ between locations
(Dirichlet), a location's own accuracy (a normal effect on the logit scale, common to its labels, and one per label),
and labels between easy and hard. The truth is the macro recall over all locations there could be, of the labels that
are present. Printed: the share of intervals that hold the truth (wished: 90-98%) and their mean width.
"""

import argparse

import numpy as np
from numpy.typing import NDArray

from trapline.core import intervals
from trapline.core.comparison import differences

Array = NDArray[np.float64]
EASE = np.linspace(2.4, -0.4, 8)  # logit of each label's recall at a typical location
SETTINGS: dict[str, dict[str, float]] = {
    "usual": {},
    "heavier tails": {"tail": 1.8},
    "skewed labels": {"mix": 0.12},
    "easy": {"shift": 1.5},
    "bad cameras": {"common": 1.2, "own": 0.4},
    "alike": {"common": 0.2, "own": 0.2},
    "hard": {"shift": -1.5},
    "30 labels": {"labels": 30, "crops": 4.4},
}


def draw(
    rng: np.random.Generator,
    groups: int,
    *,
    tail: float = 1.2,
    mix: float = 0.35,
    shift: float = 0.0,
    common: float = 0.6,
    own: float = 0.8,
    labels: int = 8,
    crops: float = 3.4,
) -> tuple[Array, Array, Array]:
    """One split: right and crops, (groups, labels) each, and the labels' true recalls, (labels,).

    Args:
        tail: Standard deviation of the logarithm of location sizes; `crops` is its mean.
        mix: Concentration of the locations' label mixtures; the smaller, the more skewed.
        shift: Added to every label's logit.
        common: Standard deviation of a location's effect on all its labels; `own` of that on each.
    """
    ease = np.interp(np.linspace(0, 1, labels), np.linspace(0, 1, len(EASE)), EASE) + shift
    frequency = np.geomspace(1, 0.1, labels)
    frequency /= frequency.sum()
    sizes = np.exp(rng.normal(crops, tail, (groups, 1)))
    shares = rng.gamma(np.broadcast_to(mix * 8 * frequency, (groups, labels))) + 1e-12
    count = rng.poisson(sizes * shares / shares.sum(1, keepdims=True))
    logit = ease + common * rng.normal(size=(groups, 1)) + own * rng.normal(size=(groups, labels))
    right = rng.binomial(count, 1 / (1 + np.exp(-logit)))
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    truth = (weights / (1 + np.exp(-(ease[:, None] + np.hypot(common, own) * nodes)))).sum(1) / weights.sum()
    return right.astype(float), count.astype(float), truth


def linearised(right: Array, count: Array) -> tuple[float, float]:
    """Cluster-robust t interval with G - 1 degrees of freedom: the textbook's."""
    from scipy.stats import t

    groups, present = len(count), count.sum(0) > 0
    total = count.sum(0)[present]
    recall = right.sum(0)[present] / total
    error = ((right[:, present] - recall * count[:, present]) / total).mean(1)
    half = t.ppf(0.975, groups - 1) * np.sqrt(groups / (groups - 1) * (error**2).sum())
    return recall.mean() - half, recall.mean() + half


def jackknife(right: Array, count: Array) -> tuple[float, float]:
    """Delete-one-location jackknife with t(G - 1)."""
    from scipy.stats import t

    groups = len(count)
    rest = count.sum(0) - count
    recall = np.where(rest > 0, (right.sum(0) - right) / np.maximum(rest, 1), np.nan)
    left = np.nanmean(recall, axis=1)
    full = float(np.nanmean(np.where(count.sum(0) > 0, right.sum(0) / np.maximum(count.sum(0), 1), np.nan)))
    half = t.ppf(0.975, groups - 1) * np.sqrt((groups - 1) / groups * ((left - left.mean()) ** 2).sum())
    return full - half, full + half


def bootstrap(right: Array, count: Array, rng: np.random.Generator, times: int = 300) -> tuple[float, float]:
    """Percentile bootstrap over locations."""
    picks = rng.multinomial(len(count), np.full(len(count), 1 / len(count)), times)
    total = picks @ count
    recall = np.where(total > 0, (picks @ right) / np.maximum(total, 1), np.nan)
    low, high = np.quantile(np.nanmean(recall, axis=1), [0.025, 0.975])
    return float(low), float(high)


def simulate(groups: int, draws: int, seed: int = 0, rivals: bool = True, **setting: float) -> dict[str, list[float]]:
    """Per method: coverage and mean width of the macro recall (and, for ours, of every label and of the accuracy)."""
    rng = np.random.default_rng(seed)
    hits: dict[str, list[tuple[bool, float]]] = {}
    for _ in range(draws):
        right, count, truth = draw(rng, groups, **setting)  # type: ignore[arg-type]
        present = count.sum(0) > 0
        target = truth[present].mean()
        found = intervals.ratio_spread(right, count)
        ends = {"trapline": intervals.mean(found)}
        if rivals:
            ends |= {
                "bootstrap": bootstrap(right, count, rng),
                "linearised t": linearised(right, count),
                "jackknife t": jackknife(right, count),
            }
        for name, (low, high) in ends.items():
            hits.setdefault(name, []).append((low <= target <= high, high - low))
        low, high = intervals.each(found)
        inside = (low <= truth) & (truth <= high)
        hits.setdefault("per label", []).extend(zip(inside[present], (high - low)[present], strict=True))
    return {name: [float(np.mean([hit for hit, _ in rows])), float(np.mean([width for _, width in rows]))]
            for name, rows in hits.items()}  # fmt: skip


def simulate_difference(groups: int, draws: int, seed: int = 0, gain: float = 0.05) -> tuple[float, float]:
    """Coverage and mean width of the paired interval of `trapline compare`, of macro recall.

    Every draw is two classifiers on one test split of unequal locations: the second repeats the first on 70% of the
    crops and is better by `gain` on average, by more or less at each location.
    """
    rng = np.random.default_rng(seed)
    hits, widths = [], []
    for _ in range(draws):
        size = rng.poisson(np.exp(rng.normal(3, 1.0, groups))) + 1
        group = np.repeat(np.arange(groups), size)
        truth = rng.choice(4, len(group), p=[0.5, 0.25, 0.15, 0.1])
        ease, own = rng.uniform(0.3, 0.5, groups), gain + rng.uniform(-0.1, 0.1, groups)
        a = np.where(rng.random(len(group)) < ease[group], truth, (truth + 1) % 4)
        afresh = np.where(rng.random(len(group)) < (ease + own / 0.3)[group], truth, (truth + 1) % 4)
        b = np.where(rng.random(len(group)) < 0.7, a, afresh)
        zero = np.zeros(len(group))
        found = differences(truth, a, b, zero, zero, group, 4)[0]
        assert found.low is not None
        assert found.high is not None
        hits.append(found.low <= gain <= found.high)
        widths.append(found.high - found.low)
    return float(np.mean(hits)), float(np.mean(widths))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--draws", type=int, default=2000)
    args = parser.parse_args()
    names = ("trapline", "bootstrap", "linearised t", "jackknife t", "per label")
    print(f"{'':24}" + "".join(f"{name:>16}" for name in names))
    for setting, changes in SETTINGS.items():
        for groups in (10, 15, 40):
            found = simulate(groups, args.draws, **changes)  # type: ignore[arg-type]
            cells = "".join(f"{found[name][0]:>10.1%} {found[name][1]:.2f} " for name in names)
            print(f"{setting:16}{groups:>6}  {cells}", flush=True)
    for groups in (10, 15, 40):
        covered, width = simulate_difference(groups, args.draws)
        print(f"{'compare, paired':16}{groups:>6}  {covered:>10.1%} {width:.2f}", flush=True)


if __name__ == "__main__":
    main()
