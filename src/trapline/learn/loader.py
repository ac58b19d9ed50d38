"""Which crops make a batch, and how they arrive: batch order is arithmetic, loading is threads."""

from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import numpy as np

from trapline.learn.device import seed_from

Item = TypeVar("Item")
Loaded = TypeVar("Loaded")

PREFETCH = 3  # batches in the making while one is at work; bounds memory


@dataclass(frozen=True)
class Drawn:
    """One crop's place in a batch.

    Args:
        example: Its index among the examples.
        draw: How often it came before in this epoch, so that a rare crop drawn ten times is varied ten ways.
    """

    example: int
    draw: int


def sampling_weights(labels: np.ndarray, weights: np.ndarray, *, balanced: bool) -> np.ndarray | None:
    """Probability of each example, [n] summing to 1, or None where every example simply comes once per epoch.

    Args:
        labels: Label index of each example, [n]; or float [n, labels] of 0 and 1.
        weights: The examples' own weights, [n], >= 0.
        balanced: Every label that has examples is equally likely; weights then count within a label. An example with
            several labels is as likely as these are together, so that every label has its share of draws made for it.
    """
    if not balanced:
        return None if np.all(weights == weights[0]) else weights / weights.sum()
    if labels.ndim == 2:
        totals = weights @ labels
        shares = weights * (labels[:, totals > 0] / totals[totals > 0]).sum(axis=1)
        return shares / shares.sum()
    totals = np.bincount(labels, weights=weights)
    present = np.unique(labels[weights > 0])
    shares = np.zeros(len(weights))
    chosen = weights > 0
    shares[chosen] = weights[chosen] / totals[labels[chosen]] / len(present)
    return shares


def batches(n: int, batch_size: int, *, seed: int, epoch: int, weights: np.ndarray | None) -> list[list[Drawn]]:
    """All batches of an epoch: a pure function of its arguments.

    As many examples are drawn as there are, in near-equal batches (no small last one, which would be a noisy step).
    These are the global batches; with several processes each takes its share of every one, so that the number of
    processes does not change what a step learns from.

    Args:
        n: Number of examples, >= 1.
        weights: Probabilities to sample by, with replacement; None for every example once, shuffled.
    """
    random = np.random.Generator(np.random.Philox(seed_from("batches", seed, epoch)))
    order = random.permutation(n) if weights is None else random.choice(n, n, p=weights)
    seen: dict[int, int] = {}
    drawn = []
    for example in order.tolist():
        drawn.append(Drawn(example, seen.get(example, 0)))
        seen[example] = seen.get(example, 0) + 1
    bounds = np.linspace(0, n, steps_per_epoch(n, batch_size) + 1).round().astype(int)
    return [drawn[start:stop] for start, stop in pairwise(bounds)]


def steps_per_epoch(n: int, batch_size: int) -> int:
    """Number of batches that `batches` gives."""
    return max(-(-n // batch_size), 1)


def load_ahead(
    groups: Sequence[Sequence[Item]], load: Callable[[Item], Loaded], threads: int
) -> Generator[tuple[Sequence[Item], list[Loaded]]]:
    """Load groups of items with threads (Pillow releases the GIL), a few groups ahead, in their order.

    Yields:
        Each group with what was loaded of it, in order. An exception of `load` comes out at its group; then, and
        when the iterator is closed, the threads end.
    """
    with ThreadPoolExecutor(threads, thread_name_prefix="load") as pool:
        waiting: deque[tuple[Sequence[Item], list[Future[Loaded]]]] = deque()
        upcoming = iter(groups)
        try:
            while True:
                while len(waiting) < PREFETCH and (group := next(upcoming, None)) is not None:
                    waiting.append((group, [pool.submit(load, item) for item in group]))
                if not waiting:
                    return
                group, futures = waiting.popleft()
                yield group, [future.result() for future in futures]
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
