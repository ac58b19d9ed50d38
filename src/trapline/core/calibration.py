"""Calibrated scores: temperature and vector scaling of a checkpoint's probabilities, fitted on val.

A score p of a label becomes softmax(scale * log p + offset), with one scale for all labels and no offset (temperature
scaling) or one of each per label (vector scaling). Softmax probabilities are logits up to a constant per crop, so
their logarithms serve as logits.

Sources: Guo et al. 2017, "On calibration of modern neural networks". The pull of vector scaling towards temperature
scaling is a normal prior, as Platt 1999's regularised targets are for two labels: a label with few val crops keeps the
common temperature.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from trapline.core.metrics import Floats, Ints, Real

Number = TypeVar("Number", bound=np.floating)
CHUNK = 65_536  # rows at a time
FLOOR = np.float32(1e-12)  # of probabilities, below which their logarithm is taken to lie
MIN_CROPS = 50  # fewer val crops than this calibrate nothing
FIT_CROPS = 20_000  # at most so many, evenly picked, are fitted on
CHOOSE_CROPS = 5_000  # ... and so many in choosing between the two ways
TURNS = 5
PULL = 0.1
"""Prior standard deviation of the logarithm of each scale around the common one, and of each offset around 0: so that
few val crops of a label move it little (0.3 and 1 had higher log losses at other locations: docs/log.md)."""


@dataclass(frozen=True)
class Calibration:
    """How scores become calibrated ones, and what was learnt about how sure is sure enough.

    Args:
        labels: L names.
        method: temperature, vector or none.
        reason: Why it is none; else None.
        scale, offset: (L,) see above.
        temperature: Of temperature scaling; above 1 the scores were too sure of themselves.
        crops, groups: What it was fitted on.
        log_loss: Of val, cross-validated over locations: raw, temperature, vector.
        precision: The precision that the thresholds aim at.
        thresholds: Per label, the least confidence that reaches it; None where none does.
        reasons: Why it is none, per such label.
    """

    labels: Sequence[str]
    method: str
    reason: str | None
    scale: Real
    offset: Real
    temperature: float
    crops: int = 0
    groups: int = 0
    log_loss: Mapping[str, float] = field(default_factory=dict)
    precision: float | None = None
    thresholds: Mapping[str, float | None] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)


def none(labels: Sequence[str], reason: str) -> Calibration:
    """Scores as they are."""
    return Calibration(labels, "none", reason, np.ones(len(labels)), np.zeros(len(labels)), 1.0)


def apply(calibration: Calibration, scores: Floats) -> Floats:
    """Calibrated probabilities, (n, L) single precision, of a checkpoint's probabilities (n, L).

    Where nothing was fitted (method none) they are the checkpoint's own.
    """
    if calibration.method == "none":
        return scores
    scale, offset = calibration.scale.astype(np.float32), calibration.offset.astype(np.float32)
    found = np.empty(scores.shape, np.float32)
    for start in range(0, len(scores), CHUNK):
        part = found[start : start + CHUNK]
        np.maximum(scores[start : start + CHUNK], FLOOR, out=part, casting="same_kind")
        np.log(part, out=part)
        part *= scale
        part += offset
        part -= part.max(1, keepdims=True)
        np.exp(part, out=part)
        part /= part.sum(1, keepdims=True)
    return found


def thresholds_of(calibration: Calibration) -> Real:
    """(L,) the least confidence with which a label needs no person; infinite where nothing is enough."""
    given = [calibration.thresholds.get(label) for label in calibration.labels]
    return np.array([np.inf if value is None else value for value in given], np.float64)


def fit(truth: Ints, scores: Floats, group: Ints, labels: Sequence[str], method: str = "auto") -> Calibration:
    """Learn from val how scores become calibrated ones.

    Args:
        truth: (n,) label numbers of val crops.
        scores: (n, L) their probabilities.
        group: (n,) their group numbers.
        method: temperature, vector or none; auto takes vector scaling where, cross-validated over locations, it has
            the lower log loss by more than a standard error, else temperature scaling.
    """
    if method == "none":
        return none(labels, "evaluate: calibration is set to none")
    if len(truth) < MIN_CROPS or len(np.unique(group)) < 2:
        return none(labels, f"{len(truth)} val crops at {len(np.unique(group))} locations: too few to calibrate on")
    truth, scores, group = _some(FIT_CROPS, truth, scores, group)
    logs = np.log(np.maximum(scores, FLOOR)).astype(np.float32)
    losses, chosen = {}, method
    if method == "auto":
        sample = _some(CHOOSE_CROPS, truth, logs, group)
        losses = _cross_validated(*sample)
        chosen = _choose(losses, sample[2])
    common = temperature_scale(truth, logs)
    scale, offset = np.full(len(labels), common), np.zeros(len(labels))
    if chosen == "vector":
        scale, offset = vector_scale(truth, logs, common)
    return Calibration(
        labels=labels,
        method=chosen,
        reason=None,
        scale=scale,
        offset=offset,
        temperature=1 / common,
        crops=len(truth),
        groups=len(np.unique(group)),
        log_loss={name: float(values.mean()) for name, values in losses.items()},
    )


def temperature_scale(truth: Ints, logs: Floats) -> float:
    """The common scale (1 / temperature) with the lowest log loss, between 0.05 and 20.

    Args:
        truth: (n,) label numbers.
        logs: (n, L) logarithms of probabilities, single precision.
    """
    own = logs[np.arange(len(truth)), truth].astype(np.float64)
    log_scale = 0.0
    for _ in range(30):  # Newton: the loss is convex in the scale; steps are held to a factor of e
        scale = np.exp(log_scale)
        odds = _softmax(logs * np.float32(scale))[0]
        mean = np.einsum("ij,ij->i", odds, logs, dtype=np.float64)
        curve = float((np.einsum("ij,ij,ij->i", odds, logs, logs, dtype=np.float64) - mean**2).mean())
        slope = float((mean - own).mean())
        step = np.clip(slope / max(curve * scale, 1e-12), -1, 1)
        log_scale = float(np.clip(log_scale - step, np.log(0.05), np.log(20)))
        if abs(step) < 1e-4:
            break
    return float(np.exp(log_scale))


def vector_scale(truth: Ints, logs: Floats, common: float, pull: float = PULL) -> tuple[Real, Real]:
    """A scale and an offset per label, (L,) each, drawn towards `common` and 0.

    Args:
        truth: (n,) label numbers.
        logs: (n, L) logarithms of probabilities, single precision.
        common: The common scale.
        pull: Prior standard deviation of both; the smaller, the closer to temperature scaling.
    """
    from scipy.optimize import minimize  # half a second of import

    labels = logs.shape[1]
    rows = np.arange(len(truth))

    def loss(parameters: Real) -> tuple[float, Real]:
        moves, offset = parameters[:labels], parameters[labels:]
        scale = common * np.exp(moves)
        off, losses = _softmax(logs * scale.astype(np.float32) + offset.astype(np.float32), truth)
        value = losses.sum() + (parameters**2).sum() / (2 * pull**2)
        off[rows, truth] -= 1  # probabilities, less the truth
        slope = np.concatenate([np.einsum("ij,ij->j", off, logs, dtype=np.float64) * scale, off.sum(0)])
        return value / len(truth), (slope + parameters / pull**2) / len(truth)

    found = minimize(loss, np.zeros(2 * labels), jac=True, method="L-BFGS-B", options={"maxiter": 100, "ftol": 1e-7})
    return common * np.exp(found.x[:labels]), found.x[labels:]


def _cross_validated(truth: Ints, logs: Floats, group: Ints) -> dict[str, Real]:
    """Log loss of every crop under each way, fitted on the other locations."""
    numbers = np.unique(group, return_inverse=True)[1]
    turn = np.random.default_rng(0).permutation(int(numbers.max()) + 1)[numbers] % TURNS
    found = {name: np.empty(len(truth)) for name in ("raw", "temperature", "vector")}
    labels = logs.shape[1]
    for n in np.unique(turn):
        out, rest = turn == n, turn != n
        common = temperature_scale(truth[rest], logs[rest])
        ways = {
            "raw": (np.ones(labels), np.zeros(labels)),
            "temperature": (np.full(labels, common), np.zeros(labels)),
            "vector": vector_scale(truth[rest], logs[rest], common),
        }
        for name, (scale, offset) in ways.items():
            found[name][out] = _softmax(logs[out] * scale.astype(np.float32) + offset.astype(np.float32), truth[out])[1]
    return found


def _choose(losses: Mapping[str, Real], group: Ints) -> str:
    """vector where it is better than temperature by more than a standard error over locations."""
    better = losses["temperature"] - losses["vector"]
    numbers = np.unique(group, return_inverse=True)[1]
    surplus = np.bincount(numbers, better - better.mean())
    error = np.sqrt((surplus**2).sum() * len(surplus) / (len(surplus) - 1)) / len(better)
    return "vector" if better.mean() > error else "temperature"


def _some(most: int, truth: Ints, values: NDArray[Number], group: Ints) -> tuple[Ints, NDArray[Number], Ints]:
    """At most so many rows, evenly picked."""
    if len(truth) <= most:
        return truth, values, group
    rows = np.linspace(0, len(truth) - 1, most).astype(np.int64)
    return truth[rows], values[rows], group[rows]


def _softmax(values: Floats, truth: Ints | None = None) -> tuple[Floats, Real]:
    """Probabilities, made in place of `values`, and the log loss of every row (0 without `truth`)."""
    values -= values.max(1, keepdims=True)
    own = values[np.arange(len(values)), truth].astype(np.float64) if truth is not None else 0.0
    np.exp(values, out=values)
    sums = values.sum(1, keepdims=True)
    values /= sums
    return values, np.log(sums[:, 0].astype(np.float64)) - own
