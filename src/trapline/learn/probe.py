"""A linear head on frozen features: the first honest figure, and where fine-tuning starts.

Source: linear probing, then fine-tuning keeps pretrained features that a random head would distort; Kumar et al.
2022, "Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution".
"""

import warnings

import numpy as np
import torch
from scipy.special import expit, softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from torch import nn

from trapline.learn.validation import judge

# Inverse strength of the L2 penalty on standardised features: the best at held-out places of semireal and of the demo
# (docs/log.md), unless another is clearly better on the crops at hand.
PENALTY_C = 0.001
OTHERS_C = (0.0001, 0.01, 0.1)
TURNS = 3  # of cross-validation, over groups
TRIED_CROPS = 1_500  # at most so many choose the penalty: a few seconds
MAX_CROPS = 20_000  # beyond this a probe gains little; bounds memory and time
NEVER = -10.0  # bias of a label without training crops, below any other


def fit(
    features: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray,
    n_labels: int,
    penalty: float = PENALTY_C,
    *,
    dtype: type[np.floating] = np.float64,
) -> tuple[np.ndarray, np.ndarray]:
    """Class-balanced, L2-regularised multinomial logistic regression on standardised features.

    Args:
        features: float [n, d].
        labels: Label index of each row, [n]; at least two different ones. Or float [n, n_labels] of 0 and 1: then one
            regression per label, of having it or not.
        weights: Of each row, [n], >= 0; balanced over labels on top.
        penalty: Inverse strength of the L2 penalty, > 0.
        dtype: That is computed in; float32 takes half the time and memory.

    Returns:
        weight [n_labels, d] and bias [n_labels] for the raw features: the standardisation is folded in.
    """
    mean = features.mean(axis=0, dtype=np.float64)
    scale = features.std(axis=0, dtype=np.float64)
    scale[scale < 1e-6] = 1.0
    scaled = np.subtract(features, mean, dtype=dtype)
    np.divide(scaled, scale, out=scaled, dtype=dtype)
    if labels.ndim == 2:
        return _fit_several(scaled, labels, weights / weights.mean(), mean, scale, penalty)
    classifier = LogisticRegression(C=penalty, class_weight="balanced", max_iter=1000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        classifier.fit(scaled, labels, sample_weight=weights / weights.mean())
    slopes, offsets = classifier.coef_, classifier.intercept_
    if len(classifier.classes_) == 2:  # one row for two labels: the log odds, shared out evenly
        slopes, offsets = np.vstack([-slopes, slopes]) / 2, np.concatenate([-offsets, offsets]) / 2
    weight = np.zeros((n_labels, features.shape[1]))
    bias = np.full(n_labels, NEVER)
    weight[classifier.classes_] = slopes / scale
    bias[classifier.classes_] = offsets - weight[classifier.classes_] @ mean
    return weight.astype(np.float32), bias.astype(np.float32)


def _fit_several(
    scaled: np.ndarray, labels: np.ndarray, weights: np.ndarray, mean: np.ndarray, scale: np.ndarray, penalty: float
) -> tuple[np.ndarray, np.ndarray]:
    weight = np.zeros((labels.shape[1], scaled.shape[1]))
    bias = np.full(labels.shape[1], NEVER)
    for k in range(labels.shape[1]):
        own = labels[:, k] > 0.5
        if own.all():
            bias[k] = -NEVER
        elif own.any():
            classifier = LogisticRegression(C=penalty, class_weight="balanced", max_iter=1000)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                classifier.fit(scaled, own, sample_weight=weights)
            weight[k] = classifier.coef_[0] / scale
            bias[k] = np.asarray(classifier.intercept_)[0] - weight[k] @ mean
    return weight.astype(np.float32), bias.astype(np.float32)


def choose_penalty(
    features: np.ndarray, labels: np.ndarray, weights: np.ndarray, groups: np.ndarray, n_labels: int, seed: int
) -> float:
    """The penalty with the best macro recall (mean average precision of several labels) at places left out.

    PENALTY_C stays unless another is better by more than a standard error of the difference: choosing among equals
    would follow chance.

    Args:
        features, labels, weights, n_labels: As for `fit`.
        groups: Each row's group, by number, [n].
    """
    chosen = choose(labels, seed, TRIED_CROPS)
    features, labels, weights, groups = (part[chosen] for part in (features, labels, weights, groups))
    if len(np.unique(groups)) < TURNS:
        return PENALTY_C
    penalties = (PENALTY_C, *OTHERS_C)
    found = []
    for train, test in GroupKFold(TURNS, shuffle=True, random_state=seed).split(features, groups=groups):
        there = labels[train].any(axis=0).sum() if labels.ndim == 2 else len(np.unique(labels[train]))
        if there < 2 or not weights[train].any():
            return PENALTY_C
        scores = []
        for penalty in penalties:
            weight, bias = fit(features[train], labels[train], weights[train], n_labels, penalty)
            logits = (features[test] @ weight.T + bias).astype(np.float64)
            several = labels.ndim == 2
            judged = judge(expit(logits) if several else softmax(logits, axis=1), labels[test])
            scores.append(judged.score or 0.0)
        found.append(scores)
    better = np.array(found) - np.array(found)[:, :1]  # paired: the same crops
    error = better.std(axis=0, ddof=1) / np.sqrt(TURNS)
    clear = np.where(better.mean(axis=0) > error, better.mean(axis=0), 0.0)
    return penalties[int(clear.argmax())]


def choose(labels: np.ndarray, seed: int, most: int = MAX_CROPS) -> np.ndarray:
    """Indices of the crops to fit on: all of them, or `most` spread evenly over the labels."""
    if len(labels) <= most:
        return np.arange(len(labels))
    if labels.ndim == 2:  # by the rarest label that each crop has
        counts = labels.sum(axis=0)
        labels = np.where(labels > 0.5, counts, np.inf).argmin(axis=1)
    random = np.random.default_rng(seed)
    shuffled = random.permutation(len(labels))
    rank = np.empty(len(labels), dtype=np.int64)  # a crop's place among those of its label
    for label in np.unique(labels):
        own = shuffled[labels[shuffled] == label]
        rank[own] = np.arange(len(own))
    return np.sort(np.argsort(rank, kind="stable")[:most])


def install(head: nn.Linear, weight: np.ndarray, bias: np.ndarray) -> None:
    """Make a model's classifier the fitted one."""
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(weight))
        if head.bias is not None:
            head.bias.copy_(torch.from_numpy(bias))
