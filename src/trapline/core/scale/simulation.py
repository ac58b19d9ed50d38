"""A stage played through, event by event: parts of uneven length, slow ones, retries, machines that are lost, a store
that takes only so many requests a second.

Parts are handed out in bundles that shrink towards the end, so that a hundred million images take seconds; a bundle's
parts are drawn one by one, and end one by one where a machine is lost in the middle of it.
"""

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from trapline.core.scale.model import CPU, DRIVER, GETS, GPU, NETWORK, PUTS
from trapline.core.scale.plan import Work
from trapline.core.scale.prices import GET_RATE, PUT_RATE, Instance

BUNDLES = 4  # a slot takes this share of its share of what is left
MOST_TRIES = 10  # of a part that fails; none of a million does with what is usual


@dataclass(frozen=True)
class Trouble:
    """What goes wrong. The spread is measured; the rest is assumed (docs/scale.md).

    Args:
        spread: Standard deviation of a part's time over its mean.
        slow_share, slow_times: Share of parts that are stragglers, and how many times as long they take.
        failed_share: Share of parts whose process dies half way and which are tried again.
        lost_per_hour: Machines lost, per machine and hour (spot: a few in a hundred).
        replaced_s: Until another stands in its place.
    """

    spread: float = 0.0
    slow_share: float = 0.01
    slow_times: float = 5.0
    failed_share: float = 0.001
    lost_per_hour: float = 0.05
    replaced_s: float = 300.0


CALM = Trouble(slow_share=0.0, failed_share=0.0, lost_per_hour=0.0)


@dataclass
class Limit:
    """Something that takes `rate` units a second, first come first served."""

    rate: float
    free_at: float = 0.0
    taken: float = 0.0

    def take(self, now: float, units: float) -> float:
        """When these units will have been taken."""
        self.free_at = max(self.free_at, now) + units / self.rate
        self.taken += units
        return self.free_at

    def give_back(self, units: float) -> None:
        """Units that will not be used after all."""
        self.free_at -= units / self.rate
        self.taken -= units


@dataclass(frozen=True)
class Played:
    """How a stage went.

    Args:
        seconds: Until its last part was done.
        busy: Share of that time for which each resource was at work.
        retries, lost: Parts tried again, and machines lost.
    """

    seconds: float
    busy: dict[str, float]
    retries: int
    lost: int

    @property
    def bottleneck(self) -> str:
        """The resource that was busiest."""
        return max(self.busy, key=lambda name: self.busy[name])


def play(work: Work, machine: Instance, prefixes: int, trouble: Trouble, seed: int = 0) -> Played:
    """Play a stage through; the same seed gives the same course."""
    return _Stage(work, machine, prefixes, trouble, np.random.default_rng(seed)).run()


@dataclass
class _Stage:
    work: Work
    machine: Instance
    prefixes: int
    trouble: Trouble
    random: np.random.Generator
    left: int = 0  # parts that nobody has taken
    open: int = 0  # parts that are not done
    worked_s: float = 0.0  # of all slots
    retries: int = 0
    lost: int = 0
    shared: dict[str, tuple[Limit, float]] = field(default_factory=dict)  # with the units of a part
    links: list[Limit] = field(default_factory=list)  # each machine's network

    def run(self) -> Played:
        import simpy  # only for this: it is quick to load, but few commands simulate

        work = self.work
        self.left = self.open = work.parts
        rates = {
            GETS: (GET_RATE * self.prefixes, work.gets),
            PUTS: (PUT_RATE * self.prefixes, work.puts),
            DRIVER: (1.0, work.driver_s),
        }
        self.shared = {name: (Limit(rate), row * work.part_rows) for name, (rate, row) in rates.items() if row}
        self.links = [Limit(self.machine.network_gbps / 8 * 1e9) for _ in range(work.nodes)]
        env = simpy.Environment()
        self.done = env.event()
        for link in self.links:
            env.process(self._node(env, link))
        env.run(until=self.done)
        return self._played(float(env.now))

    def _played(self, seconds: float) -> Played:
        slots = self.work.nodes * self.work.slots(self.machine)
        busy = {GPU if self.work.gpu_s else CPU: self.worked_s / (slots * seconds)}
        for name, (limit, _) in self.shared.items():
            busy[name] = limit.taken / limit.rate / seconds
        moved = sum(link.taken for link in self.links)
        busy[NETWORK] = moved / (self.links[0].rate * len(self.links)) / seconds
        return Played(seconds, busy, self.retries, self.lost)

    def _node(self, env: Any, link: Limit) -> Generator[Any, Any, None]:
        """A machine: its slots at work until it is lost; then another in its place."""
        mean_s = 3600 / self.trouble.lost_per_hour if self.trouble.lost_per_hour else None
        while self.open:
            slots = [env.process(self._slot(env, link)) for _ in range(self.work.slots(self.machine))]
            if mean_s is None:
                return
            yield env.timeout(self.random.exponential(mean_s))
            if not self.open:
                return
            self.lost += 1
            for slot in slots:
                if slot.is_alive:
                    slot.interrupt()
            yield env.timeout(self.trouble.replaced_s)

    def _slot(self, env: Any, link: Limit) -> Generator[Any, Any, None]:
        import simpy

        try:
            while self.open:
                if not self.left:
                    yield env.timeout(max(self.work.part_s(self.machine), 1.0))  # a machine may yet be lost
                    continue
                yield from self._bundle(env, link)
        except simpy.Interrupt:
            return

    def _bundle(self, env: Any, link: Limit) -> Generator[Any, Any, None]:
        """Take some parts and do them; those that are not done when the machine is lost are left for others."""
        import simpy

        slots = self.work.nodes * self.work.slots(self.machine)
        taken = max(1, self.left // (BUNDLES * slots))
        self.left -= taken
        ends = np.cumsum(self._lengths(taken))
        bytes_each = max(self.work.in_bytes, self.work.out_bytes) * self.work.part_rows
        waits = [link.take(env.now, taken * bytes_each)]
        waits += [limit.take(env.now, taken * units) for limit, units in self.shared.values()]
        begin, whole = env.now, max(float(ends[-1]), max(waits) - env.now)
        done = 0
        try:
            yield env.timeout(whole)
            done = taken
        except simpy.Interrupt:
            done = int(np.searchsorted(ends * (whole / ends[-1]), env.now - begin, side="right"))
            link.give_back((taken - done) * bytes_each)
            for limit, units in self.shared.values():
                limit.give_back((taken - done) * units)
            self.left += taken - done
            raise
        finally:
            self.worked_s += min(env.now - begin, float(ends[-1]))
            self.open -= done
            if not self.open and not self.done.triggered:
                self.done.succeed()

    def _lengths(self, n: int) -> np.ndarray:
        """Seconds of n parts: as long as the model says on average, stragglers and retries on top."""
        mean, trouble = self.work.part_s(self.machine), self.trouble
        seconds = np.full(n, mean)
        if trouble.spread:
            shape = 1 / trouble.spread**2
            seconds = self.random.gamma(shape, mean / shape, n)
        if trouble.slow_share:
            seconds[self.random.random(n) < trouble.slow_share] *= trouble.slow_times
        if trouble.failed_share:
            tries = np.minimum(self.random.geometric(1 - trouble.failed_share, n), MOST_TRIES)
            self.retries += int((tries - 1).sum())
            seconds *= 1 + 0.5 * (tries - 1)
        return seconds
