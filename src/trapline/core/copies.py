"""Crops that are nearly the same: all pairs whose cosine reaches a bound close to 1.

Exactly, and yet without a product of all features: unit vectors are turned so that few coordinates tell most of them
apart, and the length of what is left is one coordinate more. The cosine of what that makes is never below the true
one, so that only pairs which reach the bound there are compared in full. Measured in docs/log.md.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from trapline.core.neighbours import BLOCK_BYTES, Neighbours

MOST_EXACT = 200_000  # crops that are compared pair by pair; beyond, an index finds most pairs
KEPT = 64  # coordinates
LEARNT_FROM = 20_000  # crops that the turn is learnt from
ROUNDING = 1e-5  # of cosines in float32
PAIRS = 4_000_000  # held before only the best of every crop are kept
COMPARED = 16_384  # pairs at a time
DENSE = 0.02  # share of a block's pairs from which it is cheaper to multiply the whole block
LISTS, PROBED = 4, 16  # of the index: lists per square root of the crops, and lists that are looked through

Pairs = tuple[np.ndarray, np.ndarray, np.ndarray]  # row, other row, cosine


def copies(units: NDArray[np.float32], k: int, least: float, apart: np.ndarray) -> Neighbours:
    """The k most similar crops of every crop among those of cosine `least` and more.

    Args:
        units: As core/neighbours.unit makes them, [n, d].
        least: Well above what unlike crops have, so that few pairs reach it.
        apart: A number per crop, [n]: those that have the same one are never copies (frames of a burst).

    Raises:
        ModuleNotFoundError: There are more than MOST_EXACT crops, and faiss is not installed.
    """
    usable = np.flatnonzero(units.any(axis=1))
    few = _turned(units, usable)
    candidates = _by_pairs if len(usable) <= MOST_EXACT else _by_index
    held: list[Pairs] = []
    for one, other in candidates(few, least - ROUNDING):
        rows, others = usable[one], usable[other]
        differ = apart[rows] != apart[others]
        found = _reaching(units, rows[differ], others[differ], least)
        held.append(found)
        held.append((found[1], found[0], found[2]))
        if sum(len(pairs[0]) for pairs in held) > PAIRS:
            held = [_best(held, k)]
    result = Neighbours.none(len(units), k)
    if held:
        rows, others, alike = _best(held, k)
        place = _place(rows)
        result.index[rows, place], result.similarity[rows, place] = others, alike
    return result


def _turned(units: NDArray[np.float32], usable: np.ndarray) -> NDArray[np.float32]:
    """Unit vectors of KEPT + 1 coordinates whose cosines are never below those of `units`; [usable, <= KEPT + 1]."""
    if units.shape[1] <= KEPT or not len(usable):
        return units[usable]
    some = units[usable[:: -(-len(usable) // LEARNT_FROM)]]
    _, directions = np.linalg.eigh((some.T @ some).astype(np.float64))
    axes = directions[:, -KEPT:].astype(np.float32)
    few = np.empty((len(usable), KEPT + 1), dtype=np.float32)
    few[:, :KEPT] = units[usable] @ axes
    few[:, KEPT] = np.sqrt((1 - (few[:, :KEPT] ** 2).sum(axis=1)).clip(0))
    return few


def _by_pairs(few: NDArray[np.float32], least: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Every pair that reaches `least`, once, block by block."""
    begin = 0
    while begin < len(few):
        step = max(1, BLOCK_BYTES // (4 * (len(few) - begin)))
        alike = few[begin : begin + step] @ few[begin:].T
        at = np.flatnonzero(alike.ravel() >= least)
        rows, others = np.divmod(at, len(few) - begin)
        yield rows[others > rows] + begin, others[others > rows] + begin
        begin += step


def _by_index(few: NDArray[np.float32], least: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Most pairs that reach `least`: those that an index of nearby lists finds."""
    import faiss  # an optional dependency

    lists = round(LISTS * len(few) ** 0.5)
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(few.shape[1]), few.shape[1], lists, faiss.METRIC_INNER_PRODUCT)
    index.train(few[:: max(1, len(few) // (64 * lists))])
    index.add(few)
    index.nprobe = PROBED
    step = 4096
    for begin in range(0, len(few), step):
        ends, _, others = index.range_search(few[begin : begin + step], least)
        rows = np.repeat(np.arange(len(ends) - 1), np.diff(ends.astype(np.int64))) + begin
        yield rows[others > rows], others[others > rows]


def _reaching(units: NDArray[np.float32], rows: np.ndarray, others: np.ndarray, least: float) -> Pairs:
    """The pairs whose own cosine reaches `least`."""
    alike = np.empty(len(rows), dtype=np.float32)
    block, columns = np.unique(rows), np.unique(others)
    if len(rows) > DENSE * len(block) * len(columns) and len(block) * len(columns) * 4 <= BLOCK_BYTES:
        whole = units[block] @ units[columns].T
        alike[:] = whole[np.searchsorted(block, rows), np.searchsorted(columns, others)]
    else:
        for begin in range(0, len(rows), COMPARED):
            part = slice(begin, begin + COMPARED)
            np.einsum("ij,ij->i", units[rows[part]], units[others[part]], out=alike[part])
    near = alike >= least
    return rows[near], others[near], alike[near]


def _best(held: list[Pairs], k: int) -> Pairs:
    """The k best pairs of every row, by row, best first."""
    rows, others, alike = (np.concatenate([pairs[part] for pairs in held]) for part in range(3))
    order = np.lexsort((others, -alike, rows))
    rows, others, alike = rows[order], others[order], alike[order]
    kept = _place(rows) < k
    return rows[kept], others[kept], alike[kept]


def _place(rows: np.ndarray) -> np.ndarray:
    """How many earlier entries have the same row; `rows` is sorted."""
    if not len(rows):
        return rows
    starts = np.flatnonzero(np.diff(rows, prepend=rows[0] - 1))
    return np.arange(len(rows)) - np.repeat(starts, np.diff(np.append(starts, len(rows))))
