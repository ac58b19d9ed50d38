"""Memory for decoded pixels: bounded whatever the number of threads, and used again rather than asked for anew."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


class Buffers:
    """Lends byte arrays; at most `limit` bytes of them exist at a time, unless one alone is larger.

    Args:
        limit: Bytes. Who asks for more than is left waits until others give back.
    """

    def __init__(self, limit: int):
        self.limit = limit
        self._free: list[np.ndarray] = []
        self._bytes = 0  # of all arrays that exist, lent or free
        self._lent = 0  # arrays
        self._changed = threading.Condition()

    @contextmanager
    def lend(self, size: int) -> Iterator[np.ndarray]:
        """An array of at least `size` bytes, of any content, for the length of a `with`."""
        with self._changed:
            self._changed.wait_for(lambda: self._fits(size))
            array = self._take(size)
            self._lent += 1
        try:
            yield array
        finally:
            with self._changed:
                self._lent -= 1
                if self._bytes > self.limit:
                    self._bytes -= array.size
                else:
                    self._free.append(array)
                self._changed.notify_all()

    def _fits(self, size: int) -> bool:
        if not self._lent or any(array.size >= size for array in self._free):
            return True
        spare = sum(array.size for array in self._free)
        return self._bytes - spare + size <= self.limit

    def _take(self, size: int) -> np.ndarray:
        """The smallest free array that is large enough, or a new one, for which free ones go if need be."""
        enough = [array for array in self._free if array.size >= size]
        if enough:
            best = min(enough, key=lambda array: array.size)
            self._free = [array for array in self._free if array is not best]
            return best
        self._free.sort(key=lambda array: array.size)
        while self._free and self._bytes + size > self.limit:
            self._bytes -= self._free.pop(0).size
        self._bytes += size
        return np.empty(size, np.uint8)
