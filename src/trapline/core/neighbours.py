"""Which crops look alike: exact cosine similarity."""

import numpy as np
from numpy.typing import NDArray


def unit(features: NDArray[np.floating]) -> NDArray[np.float32]:
    """Rows of length 1, (crops, features); one of zeros, or of no numbers, is zeros: near to nothing."""
    clean = np.nan_to_num(features.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    length = np.linalg.norm(clean, axis=1, keepdims=True)
    return (clean / np.where(length > 0, length, 1)).astype(np.float32)


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
