"""Which crops look alike: exact cosine similarity."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BLOCK_BYTES = 64 * 2**20  # of similarities held at a time


@dataclass(frozen=True)
class Neighbours:
    """The k nearest of every crop, nearest first.

    Args:
        index: int64 [n, k]; -1 where there is none.
        similarity: Cosine, float32 [n, k]; -inf where there is none.
    """

    index: np.ndarray
    similarity: np.ndarray

    @staticmethod
    def none(n: int, k: int) -> "Neighbours":
        return Neighbours(np.full((n, k), -1), np.full((n, k), -np.inf, dtype=np.float32))


def unit(features: NDArray[np.floating]) -> NDArray[np.float32]:
    """Rows of length 1, (crops, features); one of zeros, or of no numbers, is zeros: near to nothing."""
    found = np.array(features, dtype=np.float32)
    length = np.sqrt(np.einsum("ij,ij->i", found, found))
    odd = np.flatnonzero(~np.isfinite(length))
    if len(odd):
        found[odd] = np.nan_to_num(found[odd], nan=0.0, posinf=0.0, neginf=0.0)
        length[odd] = np.linalg.norm(found[odd], axis=1)
    found /= np.where(length > 0, length, 1)[:, None]
    return found


def nearest(units: NDArray[np.float32], row: int, count: int) -> list[tuple[int, float]]:
    """The `count` rows most like `row`, without itself, and their cosine, most alike first.

    Args:
        units: As `unit` makes them.
    """
    if not units[row].any():
        return []
    alike = units @ units[row]
    alike[row] = -np.inf
    count = min(count, len(alike) - 1)
    if count < 1:
        return []
    best = np.argpartition(-alike, count - 1)[:count]
    return [(int(k), float(alike[k])) for k in best[np.argsort(-alike[best], kind="stable")]]


def nearest_within(units: NDArray[np.float32], k: int, within: np.ndarray, most: int) -> Neighbours:
    """The k most similar other crops of every crop, among those that bear the same number.

    Args:
        units: As `unit` makes them, [n, d].
        within: A number per crop, [n]; those of a negative one have no neighbours.
        most: Crops of one number that others are compared with: of more, so many spread evenly.
    """
    found = Neighbours.none(len(units), k)
    usable = units.any(axis=1) & (within >= 0)
    for value in np.unique(within[usable]):
        rows = np.flatnonzero(usable & (within == value))
        others = rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(int)]
        take = min(k, len(rows) - 1, len(others))
        if take < 1:
            continue
        of_others = units[others]
        step = max(1, BLOCK_BYTES // (4 * len(others)))
        for begin in range(0, len(rows), step):
            block = rows[begin : begin + step]
            alike = units[block] @ of_others.T
            alike[block[:, None] == others[None, :]] = -np.inf
            top = np.argpartition(alike, -take, axis=1)[:, -take:]
            values = np.take_along_axis(alike, top, axis=1)
            order = np.argsort(-values, axis=1, kind="stable")
            found.similarity[block, :take] = np.take_along_axis(values, order, axis=1)
            found.index[block, :take] = others[np.take_along_axis(top, order, axis=1)]
    return found
