"""What a probe says of crops that it was not fitted on: probabilities for every crop, from grouped cross-validation."""

import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold
from threadpoolctl import threadpool_limits

from trapline.core.cores import usable_cores
from trapline.learn import probe

FOLDS = 5


def probabilities(
    features: np.ndarray, labels: np.ndarray, groups: np.ndarray, n_labels: int, *, seed: int = 0
) -> np.ndarray:
    """Probabilities of every label for every crop, by probes that saw no crop of its group.

    Args:
        features: float [n, d]; rows of NaN were not read.
        labels: Label index of every crop, [n]; -1 for crops that no probe is to learn from.
        groups: Of every crop, [n]; a group is never split over folds.

    Returns:
        float32 [n, n_labels]; NaN where no probe could judge: a crop that was not read or has no label, one whose label
        stands in its own fold only, or all where there is but one group.
    """
    found = np.full((len(labels), n_labels), np.nan, dtype=np.float32)
    rows = np.flatnonzero((labels >= 0) & np.isfinite(features).all(axis=1))
    n_groups = len(np.unique(groups[rows])) if len(rows) else 0
    if n_groups < 2:
        return found
    folds = StratifiedGroupKFold(min(FOLDS, n_groups), shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # labels rarer than the folds are met below
        parts = list(folds.split(rows, labels[rows], groups[rows]))

    def judge(fitted: np.ndarray, held: np.ndarray) -> None:
        fit_rows, held_rows = rows[fitted], rows[held]
        fit_rows = fit_rows[probe.choose(labels[fit_rows], seed)]
        known = np.unique(labels[fit_rows]) if len(fit_rows) else np.array([], dtype=int)
        held_rows = held_rows[np.isin(labels[held_rows], known)]
        if len(known) < 2 or not len(held_rows):
            return
        weights = np.ones(len(fit_rows))
        weight, bias = probe.fit(features[fit_rows], labels[fit_rows], weights, n_labels, dtype=np.float32)
        scores = features[held_rows] @ weight.T + bias
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        found[held_rows] = scores / scores.sum(axis=1, keepdims=True)

    # A fold to a core: threads of linear algebra wait for one another, and on a busy machine for long. The filters of
    # warnings belong to all threads, hence the outer one, which puts them back.
    with warnings.catch_warnings(), threadpool_limits(1), ThreadPoolExecutor(min(usable_cores(), FOLDS)) as pool:
        list(pool.map(lambda part: judge(*part), parts))
    return found
