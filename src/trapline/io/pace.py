"""How many requests at a time: a gate of changing width, and the climb that finds what the far end takes.

Everything here lives on one event loop, so nothing is locked.
"""

import asyncio
import time
from collections import deque

START = 8
WINDOW_S = 0.2
AT_LEAST_S = 0.05
GAIN = 1.05  # a rise in throughput that is worth more requests
CAUTIOUS_S = 10.0  # how long the width that was refused is not tried again
FORGET = 0.98  # per window: the best rate seen fades, so that a link that got faster is tried again


class Gate:
    """Lets in as much weight as fits `limit`, first come first served; what is wider than the gate goes in alone."""

    def __init__(self, limit: float):
        self.limit = limit
        self.inside = 0
        self._waiting: deque[tuple[asyncio.Future[None], int]] = deque()

    async def enter(self, weight: int = 1) -> None:
        """Wait until there is room, and take it."""
        if not self._waiting and self._fits(weight):
            self.inside += weight
            return
        place = asyncio.get_running_loop().create_future()
        self._waiting.append((place, weight))
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self.leave(weight)
            raise

    def leave(self, weight: int = 1) -> None:
        """Give room back."""
        self.inside -= weight
        self.admit()

    def admit(self) -> None:
        """Let in whoever fits now; to be called when `limit` grows."""
        while self._waiting:
            place, weight = self._waiting[0]
            if not place.done() and not self._fits(weight):
                return
            self._waiting.popleft()
            if not place.done():
                self.inside += weight
                place.set_result(None)

    def _fits(self, weight: int) -> bool:
        return self.inside == 0 or self.inside + weight <= self.limit


class Pace:
    """Additive and multiplicative steps of a gate's width by throughput (bytes per second) and by refusals.

    It doubles from START while that pays, then tries a quarter more whenever throughput rises; a step that made
    it slower is taken back. A refusal (429, 503, time out, broken connection) halves the width, and for a while
    it stays below the one that was refused.
    """

    def __init__(self, most: int):
        self.most = most
        self.gate = Gate(min(START, most))
        self.usual_s = 0.0  # how long a request takes, lately
        self._doubling = True
        self._best = 0.0
        self._before: float | None = None  # width before the last step up
        self._begin = time.monotonic()
        self._bytes = self._count = 0
        self._halved_at = 0.0
        self._refused_width = most + 1

    def done(self, n_bytes: int, seconds: float) -> None:
        """A request brought `n_bytes` in `seconds`."""
        self.usual_s = seconds if not self.usual_s else 0.95 * self.usual_s + 0.05 * seconds
        self._bytes += n_bytes
        self._count += 1
        now = time.monotonic()
        elapsed = now - self._begin
        if elapsed >= WINDOW_S and self._count >= self.gate.limit:
            self._step(self._bytes / elapsed)
            self._begin, self._bytes, self._count = now, 0, 0

    def _step(self, rate: float) -> None:
        width = self.gate.limit
        if rate > GAIN * self._best:
            self._best = rate
            self._before = width
            self._set(2 * width if self._doubling else width + max(1, width // 4))
        else:
            self._doubling = False
            if self._before is not None and rate < self._best / GAIN:
                self._set(self._before)
            self._before = None
            self._best *= FORGET

    def refused(self) -> None:
        """The far end, or the way there, has had too much: halve, once per round trip."""
        now = time.monotonic()
        if now - self._halved_at < max(2 * self.usual_s, AT_LEAST_S):
            return
        self._halved_at = now
        self._refused_width = int(self.gate.limit)
        self._doubling = False
        self._best *= 0.5
        self._before = None
        self._begin, self._bytes, self._count = now, 0, 0
        self._set(self.gate.limit // 2)

    def _set(self, width: float) -> None:
        cautious = time.monotonic() - self._halved_at < CAUTIOUS_S
        most = min(self.most, self._refused_width - 1) if cautious else self.most
        self.gate.limit = max(1, min(int(width), most))
        self.gate.admit()
