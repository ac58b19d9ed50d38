"""Learning curves of a probe on frozen features: from fewer places, and from fewer crops of each place."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import GroupShuffleSplit
from threadpoolctl import threadpool_limits

from trapline.core.cores import usable_cores
from trapline.learn import probe

SHARES = (0.125, 0.25, 0.5, 1.0)
HELD_OUT = 0.25  # of the places
LEAST_GROUPS = 8
Line = list[tuple[int, float]]  # size and recall of each share


@dataclass(frozen=True)
class Curve:
    """Macro recall at places held out.

    Args:
        sizes: [divisions, k] places learnt from; or crops.
        recalls: [divisions, k], 0..1.
    """

    sizes: np.ndarray
    recalls: np.ndarray


def curves(
    features: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    bursts: np.ndarray,
    *,
    divisions: int,
    seed: int,
    done: Callable[[int], None] = lambda n: None,
) -> tuple[Curve, Curve]:
    """Fit probes on growing shares of the places (with all their crops), and of every place's bursts.

    Args:
        features: float [n, d], all finite.
        labels: Label index of each crop, [n].
        groups: Place of each crop, by number, [n]; LEAST_GROUPS or more.
        bursts: Burst of each crop, by number, [n]: crops of a burst are kept or left out together.
        divisions: Random divisions of the places into learnt from and held out.
        done: Told after each division.

    Returns:
        By places, and by crops of each place. A label that a share lacks counts as never found.
    """
    n_labels = int(labels.max()) + 1
    splitter = GroupShuffleSplit(divisions, test_size=HELD_OUT, random_state=seed)

    def divided(numbered: tuple[int, tuple[np.ndarray, np.ndarray]]) -> tuple[Line, Line]:
        number, (pool, left_out) = numbered
        random = np.random.default_rng([seed, number])
        held = left_out[np.isin(labels[left_out], labels[pool])]
        by_place = _rank(groups[pool], np.zeros(len(pool), int), random)
        by_burst = _rank(bursts[pool], groups[pool], random)
        whole = _recall(features, labels, pool, held, n_labels)

        def line(rank: np.ndarray, units: np.ndarray | None) -> Line:
            found = []
            for share in SHARES:
                kept = pool[rank < share]
                recall = whole if len(kept) == len(pool) else _recall(features, labels, kept, held, n_labels)
                found.append((len(kept) if units is None else len(np.unique(units[kept])), recall))
            return found

        return line(by_place, groups), line(by_burst, None)

    lines = []
    with threadpool_limits(1), ThreadPoolExecutor(usable_cores()) as workers:  # their own threads would only wait
        for found in workers.map(divided, enumerate(splitter.split(features, labels, groups))):
            lines.append(found)
            done(1)
    return _curve([places for places, _ in lines]), _curve([crops for _, crops in lines])


def _rank(units: np.ndarray, within: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """In [0, 1): each row's unit's place in a random order of the units of its `within`."""
    ranks = np.empty(len(units))
    for number in np.unique(within):
        rows = np.flatnonzero(within == number)
        names, index = np.unique(units[rows], return_inverse=True)
        order = random.permutation(len(names))
        position = np.empty(len(names))
        position[order] = np.arange(len(names)) / len(names)
        ranks[rows] = position[index]
    return ranks


def _recall(features: np.ndarray, labels: np.ndarray, kept: np.ndarray, held: np.ndarray, n_labels: int) -> float:
    wanted = np.unique(labels[held])
    if len(np.unique(labels[kept])) < 2:
        named = np.full(len(held), labels[kept[0]])
    else:
        kept = kept[probe.choose(labels[kept], 0)]
        weight, bias = probe.fit(features[kept], labels[kept], np.ones(len(kept)), n_labels)
        named = (features[held] @ weight.T + bias).argmax(axis=1)
    return float(np.mean([(named[labels[held] == label] == label).mean() for label in wanted]))


def _curve(lines: list[Line]) -> Curve:
    values = np.array(lines)
    return Curve(values[:, :, 0].astype(int), values[:, :, 1])
