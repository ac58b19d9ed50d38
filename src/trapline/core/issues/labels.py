"""Crops whose label is likely wrong, by what a model says that never saw them (confident learning; a margin).

Source: Northcutt et al. 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels"; computed by cleanlab.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import polars as pl

from trapline.core.issues.rows import issues

KIND, CANDIDATE = "likely_wrong_label", "mislabeled_candidate"
MARGIN = 0.95  # what the old chain recommends
Rank = Literal["normalized_margin", "self_confidence"]
RANK: Rank = "normalized_margin"


def quality(given: np.ndarray, probabilities: np.ndarray, rank: Rank = RANK) -> np.ndarray:
    """How well each label is borne out, from 0 to 1, higher is better.

    Args:
        given: Label index of every crop, [n].
        probabilities: Of every label for every crop, by a model that was not fitted on it; [n, n_labels].
    """
    own = probabilities[np.arange(len(given)), given]
    if rank == "self_confidence":
        return own
    others = probabilities.copy()
    others[np.arange(len(given)), given] = -np.inf
    return (own - others.max(axis=1) + 1) / 2


def marked(given: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Which labels confident learning counts as errors, as a mask [n]."""
    from cleanlab.filter import find_label_issues  # slow to import

    found = find_label_issues(given, probabilities, filter_by="both", n_jobs=1)
    return np.asarray(found, dtype=bool)


def likely_wrong(
    crop_ids: Sequence[str], given: np.ndarray, probabilities: np.ndarray, names: Sequence[str], *, rank: Rank = RANK
) -> pl.DataFrame:
    """ISSUES rows of the crops whose label is likely wrong.

    A crop is listed where confident learning marks it or another label is likelier than its own; those that are marked
    score in the upper half.

    Args:
        given: Label index of every crop, [n]; -1 for those without a single label, which are left out.
        probabilities: [n, n_labels]; rows of NaN (no model could judge the crop) are left out.
        names: Of the labels, by index.
    """
    usable = (given >= 0) & ~np.isnan(probabilities).any(axis=1)
    rows = np.flatnonzero(usable)
    if not len(rows) or len(np.unique(given[rows])) < 2:
        return issues([], KIND, [], [])
    present, given_of = np.unique(given[rows], return_inverse=True)
    chances = probabilities[rows][:, present]
    chances = chances / chances.sum(axis=1, keepdims=True).clip(1e-12)
    doubt = 1 - quality(given_of, chances, rank)
    likeliest = chances.argmax(axis=1)
    by_count = marked(given_of, chances)
    scores = (doubt + by_count) / 2
    listed = np.flatnonzero(likeliest != given_of)
    evidence = [
        f"labelled {names[int(present[given_of[k]])]}, looks like {names[int(present[likeliest[k]])]} "
        f"({chances[k, likeliest[k]]:.0%} against {chances[k, given_of[k]]:.0%})"
        for k in listed
    ]
    return issues([crop_ids[int(rows[k])] for k in listed], KIND, evidence, scores[listed])


def mislabeled_candidates(
    crop_ids: Sequence[str], given: np.ndarray, probabilities: np.ndarray, names: Sequence[str], margin: float
) -> pl.DataFrame:
    """ISSUES rows of the crops to which a classifier gives another label, by `margin` and more.

    Args:
        given: Label index of every crop, [n]; -1 for those that the classifier does not know, which are left out.
        probabilities: Of the classifier, [n, n_labels], of crops that it was not trained on.
        names: Of its labels, by index.
        margin: By how much the probability of its answer exceeds that of the given label, 0 to 1.

    Source: identify_mislabeled_candidates.py of the CameraTraps classification scripts.
    """
    rows = np.arange(len(given))
    likeliest = probabilities.argmax(axis=1) if len(given) else given
    ahead = probabilities[rows, likeliest] - probabilities[rows, given]
    listed = np.flatnonzero((given >= 0) & (likeliest != given) & (ahead >= margin))
    evidence = [
        f"labelled {names[given[k]]}, the classifier says {names[int(likeliest[k])]} "
        f"({probabilities[k, likeliest[k]]:.0%} against {probabilities[k, given[k]]:.0%})"
        for k in listed
    ]
    return issues([crop_ids[int(k)] for k in listed], CANDIDATE, evidence, ahead[listed])
