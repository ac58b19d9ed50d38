"""Boxes of several requests through the network together: one thread computes, and takes what waits."""

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future

import numpy as np

Told = Callable[[int, float], None]
"""Is told of every batch: its boxes, and the seconds that it took."""


class Batcher:
    """Collects crops until there are `size` of them or the first has waited for `wait_s`, and computes them.

    Args:
        network: From uint8 [n, side, side, 3] to float32 [n, labels].
        size: Most crops at a time.
    """

    def __init__(self, network: Callable[[np.ndarray], np.ndarray], size: int, wait_s: float, told: Told):
        self._network, self._size, self._wait_s, self._told = network, size, wait_s, told
        self._waiting: deque[tuple[float, np.ndarray, Future[np.ndarray]]] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Crops that are not computed yet."""
        return len(self._waiting)

    def submit(self, crop: np.ndarray) -> "Future[np.ndarray]":
        """The scores to come of a crop. One that is cancelled is not computed.

        Raises:
            RuntimeError: It is closed.
        """
        future: Future[np.ndarray] = Future()
        with self._changed:
            if self._closing:
                raise RuntimeError("the batcher is closed")
            self._waiting.append((time.monotonic(), crop, future))
            self._changed.notify()
        return future

    def close(self) -> None:
        """Compute what waits, and end."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while batch := self._next():
            kept = [(crop, future) for crop, future in batch if future.set_running_or_notify_cancel()]
            if not kept:
                continue
            begin = time.perf_counter()
            try:
                rows = self._network(np.stack([crop for crop, _ in kept]))
            except Exception as error:  # whatever a network raises belongs to those who asked; the thread lives on
                for _, future in kept:
                    future.set_exception(error)
                continue
            self._told(len(kept), time.perf_counter() - begin)
            for (_, future), row in zip(kept, rows, strict=True):
                future.set_result(row)

    def _next(self) -> list[tuple[np.ndarray, "Future[np.ndarray]"]]:
        """The next batch; empty at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            if not self._waiting:
                return []
            until = self._waiting[0][0] + self._wait_s
            self._changed.wait_for(
                lambda: len(self._waiting) >= self._size or self._closing, max(0.0, until - time.monotonic())
            )
            taken = [self._waiting.popleft() for _ in range(min(self._size, len(self._waiting)))]
        return [(crop, future) for _, crop, future in taken]
