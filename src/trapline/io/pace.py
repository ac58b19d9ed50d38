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
AGAIN_S = 3.0  # until the next step up is tried


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
    """A gate's width, found by trying: a step up is kept where it brings more bytes per second, else taken back.

    Steps double from START until one is taken back; after that, a quarter more is tried now and then. A refusal (429,
    503, time out, broken connection) halves the width, from where it doubles again, but for a while stays below the
    width that was refused.
    """

    def __init__(self, most: int):
        self.most = most
        self.gate = Gate(min(START, most))
        self.usual_s = 0.0  # how long a request takes, lately
        self._doubling = True
        self._rate = 0.0  # at the width that is kept
        self._before: float | None = None  # the width that is kept, while a step up is tried
        self._next_at = 0.0
        self._refused_at = 0.0
        self._refused_width = most + 1
        self._restart(time.monotonic())

    def done(self, n_bytes: int, seconds: float) -> None:
        """A request brought `n_bytes` in `seconds`."""
        self.usual_s = seconds if not self.usual_s else 0.95 * self.usual_s + 0.05 * seconds
        self._bytes += n_bytes
        self._count += 1
        now = time.monotonic()
        if now - self._begin >= WINDOW_S and self._count >= self.gate.limit:
            self._step(self._bytes / (now - self._begin), now)
            self._restart(now)

    def refused(self) -> None:
        """The far end, or the way there, has had too much: halve, once per round trip."""
        now = time.monotonic()
        if now - self._refused_at < max(2 * self.usual_s, AT_LEAST_S):
            return
        self._refused_at = now
        self._refused_width = int(self.gate.limit)
        self._doubling, self._before = True, None
        self._set(self.gate.limit // 2, now)
        self._restart(now)

    def _step(self, rate: float, now: float) -> None:
        width = self.gate.limit
        if self._before is not None and rate < GAIN * self._rate:
            self._set(self._before, now)
            self._doubling, self._next_at = False, now + AGAIN_S
            self._before = None
            return
        self._before, self._rate = None, rate
        if self._doubling or now >= self._next_at:
            self._set(2 * width if self._doubling else width + max(1, width // 4), now)
            if self.gate.limit > width:
                self._before = width

    def _restart(self, now: float) -> None:
        self._begin, self._bytes, self._count = now, 0, 0

    def _set(self, width: float, now: float) -> None:
        cautious = now - self._refused_at < CAUTIOUS_S
        self.gate.limit = max(1, min(int(width), self._refused_width - 1 if cautious else self.most, self.most))
        self.gate.admit()
