import asyncio

import pytest

from trapline.io import pace
from trapline.io.pace import Gate, Pace


class Clock:
    now = 100.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(pace, "time", made)
    return made


def test_a_gate_lets_in_in_order():
    async def main():
        gate, order = Gate(3), []

        async def visit(name, weight):
            await gate.enter(weight)
            order.append(name)
            await asyncio.sleep(0.01)
            gate.leave(weight)

        await asyncio.gather(visit("a", 2), visit("b", 2), visit("c", 1), visit("wider", 9), visit("d", 3))
        return order, gate.inside

    assert asyncio.run(main()) == (["a", "b", "c", "wider", "d"], 0)


def test_a_visitor_who_gives_up_blocks_nobody():
    async def main():
        gate = Gate(1)
        await gate.enter()
        waiting = [asyncio.ensure_future(gate.enter()) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        gate.leave()  # lets in the second
        waiting[1].cancel()  # who was let in, and gives up before he noticed
        await asyncio.wait(waiting[:2])
        await asyncio.wait_for(waiting[2], 1)
        gate.leave()
        return gate.inside

    assert asyncio.run(main()) == 0


def simulate(width_at, clock, most=64, seconds=20.0, refuse_above=None):
    """Widths over time where `width_at(n)` is the throughput of n requests at a time, in objects of one byte."""
    made, widths = Pace(most), []
    begin = clock.now
    while clock.now - begin < seconds:
        n = int(made.gate.limit)
        if refuse_above is not None and n > refuse_above:
            made.refused()
        took = n / width_at(n)
        clock.now += took
        for _ in range(n):
            made.done(1, took)
        widths.append(n)
    return widths


def test_it_grows_to_the_most_where_more_is_faster(clock):
    assert simulate(lambda n: 10.0 * n, clock)[-1] == 64


def test_it_stays_where_more_is_no_faster(clock):
    widths = simulate(lambda n: 1000.0 * min(n, 16), clock)
    late = widths[len(widths) // 2 :]
    assert 16 <= sum(late) / len(late) <= 24


def test_it_takes_back_what_made_it_slower(clock):
    widths = simulate(lambda n: 1000.0 * (n if n <= 16 else 4), clock)
    assert widths.count(16) > 0.8 * len(widths)


def test_it_stays_below_what_is_refused(clock):
    widths = simulate(lambda n: 100.0 * n, clock, refuse_above=10)
    late = widths[len(widths) // 2 :]
    assert sum(n > 10 for n in late) < 0.1 * len(late)
    assert sum(late) / len(late) > 5
