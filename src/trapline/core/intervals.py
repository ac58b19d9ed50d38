"""95% intervals over locations, for figures that are shares or means of shares, and for differences of them.

A crop is not an independent draw: crops of one location share background, light and individuals. So the resampling
unit is the group (`group_id`), of which a test split has few, of unequal size. The percentile bootstrap covers too
little there, and a label that occurs at one or two locations looks certain. What is done instead:

- The variance is the linearised (Taylor) cluster variance of a ratio, or of a mean of ratios, with every residual
  scaled up by its group's leverage h: divided by (1-h)^3/4, half-way between CR2 (1/2) and the jackknife (1) of Bell
  & McCaffrey 2002, "Bias reduction in standard errors for linear regression with multi-stage samples". In the
  simulations CR2 alone covers too little and the jackknife too much.
- Where a label occurs at too few groups for its own residuals to tell, a working model supplements it: beta-binomial
  variance p(1-p) n (1 + (n-1) rho), with one within-group correlation rho for all labels by the method of moments.
- The t quantile has Satterthwaite degrees of freedom under that working model, so a few large groups widen it
  (Imbens & Kolesar 2016, "Robust standard errors in small samples").
- The ends follow Wilson (1927) with the effective number of crops, and stay within 0 and 1.

`benchmarks/coverage.py` prints the coverage of this method and of the others that were tried.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Scale = Literal["share", "positive", "signed"]
"""What a figure may be, hence where its interval's ends lie: Wilson's within 0 and 1; symmetric on the log scale, for
losses; symmetric, for differences."""

MIN_GROUPS = 10
"""Below this many groups no interval is given: it would be near half the scale wide, and rest on the working model
more than on the data."""
MAX_LEVERAGE = 0.999
FEW_GROUPS = f"fewer than {MIN_GROUPS} locations: too few for an interval; `trapline split --folds 5` tests at all"


@dataclass(frozen=True)
class Spread:
    """How far K figures may be off, from G groups.

    Args:
        value: (K,) the figures; NaN where the denominator is 0.
        influence: (G, K) first-order contributions of each group to each figure's error.
        residuals: (G, K) leverage-scaled contributions of each group to each figure's error.
        working: (G, K) variances of those contributions under the working model.
        supplement: (K,) variance the working model adds where a figure rests on few groups.
        unit: (K,) variance of a single crop.
        crops: (K,) denominators summed over groups.
    """

    value: Array
    influence: Array
    residuals: Array
    working: Array
    supplement: Array
    unit: Array
    crops: Array


def spread(value: Array, influence: Array, weight: Array, unit: Array, most_leverage: float = MAX_LEVERAGE) -> Spread:
    """Leverage-scaled residuals and the working model, from a figure's linearisation.

    Args:
        value: (K,) figures.
        influence: (G, K) first-order contribution of each group; sums to about 0 over groups.
        weight: (G, K) crops that a group brings to each figure.
        unit: (K,) variance of a single crop around the figure, above 0.
        most_leverage: Leverages are held below this. A ratio's influence shrinks by itself where one group has
            nearly all crops; that of other figures does not, and would be scaled up without bound.
    """
    crops = weight.sum(0)
    known = crops > 0
    total = np.where(known, crops, 1.0)
    leverage = np.minimum(weight / total, most_leverage)
    residuals = influence / (1 - leverage) ** 0.75
    rho = _within_group_correlation(influence / np.sqrt(1 - leverage) * total, weight, leverage, unit)
    working = unit * weight * (1 + np.maximum(weight - 1, 0) * rho) / total**2
    groups = 1 / np.maximum((leverage**2).sum(0), 1e-12)  # effective number: 1 / sum of squared shares
    own = np.clip((groups - 1) / (groups + 1), 0, 1)  # how far a figure's own residuals are to be believed
    supplement = np.where(known, np.maximum(working.sum(0) - (residuals**2).sum(0), 0) * (1 - own), 0.0)
    return Spread(value, influence, residuals, working, supplement, unit, crops)


def ratio_spread(numerators: Array, denominators: Array, squares: Array | None = None) -> Spread:
    """Spread of K ratios `sum over groups of numerator / sum over groups of denominator`.

    Args:
        numerators: (G, K) sums over each group's crops, such as the number right.
        denominators: (G, K) the crops.
        squares: (G, K) sums of squares over each group's crops. Default: the numerators, as for 0 or 1 per crop.

    Source: Taylor linearisation of a ratio, Cochran 1977, "Sampling techniques", section 6.
    """
    crops = denominators.sum(0)
    total = np.where(crops > 0, crops, 1.0)
    value = numerators.sum(0) / total
    influence = (numerators - value * denominators) / total
    if squares is None:
        unit = share_unit(value, crops)
    else:
        within = np.maximum(squares.sum(0) / total - value**2, 0)
        pooled = (within * crops).sum() / max(crops.sum(), 1.0)
        unit = np.maximum((within * crops + pooled) / (crops + 1), 1e-12)
    return spread(np.where(crops > 0, value, np.nan), influence, denominators, unit)


def share_unit(share: Array, crops: Array) -> Array:
    """Variance p(1-p) of one crop, p drawn towards 1/2 by one success and one failure so that it is never 0."""
    drawn = (np.nan_to_num(share) * crops + 1) / (crops + 2)
    return drawn * (1 - drawn)


def _within_group_correlation(residuals: Array, weight: Array, leverage: Array, unit: Array) -> float:
    """One rho for all figures: moments of the residuals beyond what independent crops would give, in 0.01 to 0.9."""
    usable = (leverage < 0.95) & (weight > 0)
    per_crop = np.where(usable, 1 / np.maximum(weight, 1), 0.0)  # so that no large group decides alone
    excess = (per_crop * (residuals**2 - weight * unit)).sum()
    pairs = (per_crop * weight * np.maximum(weight - 1, 0) * unit).sum()
    return float(np.clip(excess / pairs if pairs > 0 else 0.1, 0.01, 0.9))


def weighted(found: Spread, crops: Array) -> Spread:
    """Spread of one figure: the mean of K, each weighing as many crops as it has, over those that are defined.

    Args:
        found: Of K figures.
        crops: (G, K) the crops that weigh.
    """
    known = ~np.isnan(found.value) & (crops.sum(0) > 0)
    crops = np.where(known, crops, 0.0)
    each_total = crops.sum(0)
    total = max(each_total.sum(), 1.0)
    values = np.nan_to_num(found.value)
    value = float(values @ each_total / total) if known.any() else np.nan
    influence = found.influence @ np.where(known, each_total / total, 0.0)
    moved = influence + (crops @ values - np.nan_to_num(value) * crops.sum(1)) / total  # the weights are uncertain too
    one = np.array([value])
    return spread(one, moved[:, None], crops.sum(1, keepdims=True), share_unit(one, each_total.sum(keepdims=True)))


def each(found: Spread, scale: Scale = "share") -> tuple[Array, Array]:
    """The 95% interval of each figure.

    Args:
        found: Of G groups and K figures.

    Returns:
        low and high, (K,) each; NaN where the figure is undefined or there are fewer than MIN_GROUPS groups.
    """
    if len(found.residuals) < MIN_GROUPS:
        return np.full(found.value.shape, np.nan), np.full(found.value.shape, np.nan)
    own = (found.residuals**2).sum(0)
    freedom = _freedom(found.working, own, found.supplement)
    return _ends(found.value, own + found.supplement, freedom, found.unit, found.crops, scale)


def mean(found: Spread, scale: Scale = "share") -> tuple[float, float]:
    """The 95% interval of the plain mean of the defined figures, such as macro recall over the labels present.

    Args:
        found: Of G groups and K figures.

    Returns:
        low and high; NaN where nothing is defined or there are fewer than MIN_GROUPS groups.
    """
    if len(found.residuals) < MIN_GROUPS or not (found.crops > 0).any():
        return float("nan"), float("nan")
    value, variance, freedom = _moments(found, found.crops > 0)
    crops = found.crops.sum(keepdims=True)
    low, high = _ends(value, variance, freedom, share_unit(value, crops), crops, scale)
    return float(low[0]), float(high[0])


def gap(first: Spread, second: Spread) -> tuple[float, float, float]:
    """The mean of one set of groups less that of another set, over the figures that both define, and its 95% interval.

    Args:
        first, second: Of K figures each; their groups are different places.

    Returns:
        value, low, high; NaN where no figure is defined by both; low and high NaN where either has fewer than
        MIN_GROUPS groups.

    Source: Welch 1947 (the variances add; Satterthwaite's degrees of freedom).
    """
    known = (first.crops > 0) & (second.crops > 0)
    if not known.any():
        return float("nan"), float("nan"), float("nan")
    (a, va, fa), (b, vb, fb) = (_moments(found, known) for found in (first, second))
    value = a - b
    if min(len(first.residuals), len(second.residuals)) < MIN_GROUPS:
        return float(value[0]), float("nan"), float("nan")
    freedom = (va + vb) ** 2 / np.maximum(va**2 / fa + vb**2 / fb, 1e-300)
    low, high = _ends(value, va + vb, freedom, np.ones(1), np.ones(1), "signed")
    return float(value[0]), float(low[0]), float(high[0])


def _moments(found: Spread, known: NDArray[np.bool_]) -> tuple[Array, Array, Array]:
    """Value, variance and degrees of freedom of the plain mean of the known figures; (1,) each."""
    count = int(known.sum())
    own = ((found.residuals[:, known].sum(1) / count) ** 2).sum(keepdims=True)
    supplement = found.supplement[known].sum(keepdims=True) / count**2
    working = found.working[:, known].sum(1, keepdims=True) / count**2
    return found.value[known].mean(keepdims=True), own + supplement, _freedom(working, own, supplement)


def _freedom(working: Array, own: Array, supplement: Array) -> Array:
    """Satterthwaite degrees of freedom of own variance plus supplement, between 1 and G - 1; (K,).

    Args:
        working: (G, K) variances of the groups' contributions under the working model: they give the own variance's
            freedom, (sum v)^2 / sum v^2.
        own: (K,) variance from the groups' residuals.
        supplement: (K,) variance from the working model; its rho comes from all figures, so it is as free as the
            number of groups allows.
    """
    most = max(len(working) - 1, 1)
    single = np.clip(working.sum(0) ** 2 / np.maximum((working**2).sum(0), 1e-300), 1.0, most)
    spread_of_sum = np.maximum(own**2 / single + supplement**2 / most, 1e-300)
    return np.clip((own + supplement) ** 2 / spread_of_sum, 1.0, most)


def _ends(
    value: Array, variance: Array, freedom: Array, unit: Array, crops: Array, scale: Scale
) -> tuple[Array, Array]:
    """Ends of the interval on the scale that suits the figure; (K,) each."""
    from scipy.special import stdtrit  # scipy comes with scikit-learn; a tenth of a second that --help need not pay

    undefined = np.isnan(value) | (crops <= 0)
    t = stdtrit(freedom, 0.975)
    if scale == "signed":
        half = t * np.sqrt(variance)
        low, high = value - half, value + half
    elif scale == "positive":
        factor = np.exp(np.minimum(t * np.sqrt(variance) / np.maximum(value, 1e-12), 50))
        low, high = value / factor, value * factor
    else:
        effective = np.minimum(unit / np.maximum(variance, 1e-300), np.maximum(crops, 1))
        square = t**2 / effective
        centre = (value + square / 2) / (1 + square)
        half = np.sqrt(square * value * (1 - value) + square**2 / 4) / (1 + square)
        # The ends hold the value in exact arithmetic; at 0 and 1 rounding could break that.
        low = np.minimum(np.maximum(centre - half, 0), value)
        high = np.maximum(np.minimum(centre + half, 1), value)
    return np.where(undefined, np.nan, low), np.where(undefined, np.nan, high)
