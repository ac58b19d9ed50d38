"""Stages played through, against closed forms."""

import numpy as np
import pytest

from trapline.core.scale.model import needs
from trapline.core.scale.plan import Work
from trapline.core.scale.prices import Instance
from trapline.core.scale.simulation import CALM, Trouble, play

MACHINE = Instance("paper", vcpus=4, memory_gb=16, network_gbps=8, dollars_per_hour=1)  # 1 GB/s


def test_without_trouble_it_is_the_model():
    for rows, nodes in ((64, 1), (64 * 5, 1), (64 * 1200, 3), (64 * 100_000, 7)):
        work = Work("crop", rows, 64, nodes, cpu_s=0.01, in_bytes=100)
        played = play(work, MACHINE, 1, CALM)
        # whole rounds by the model; the last parts may be handed out one by one
        assert played.seconds == pytest.approx(needs(work, MACHINE, 1)["CPU"], abs=0.64)
        assert played.bottleneck == "CPU"


@pytest.mark.parametrize(
    ("work", "expected", "bottleneck"),
    [
        (Work("crop", 10**6, 32, 2, cpu_s=1e-4, gets=1.0), 10**6 / (5500 * 2), "GET rate"),
        (Work("crop", 10**6, 32, 2, cpu_s=1e-4, puts=1.2), 1.2e6 / (3500 * 2), "PUT rate"),
        (Work("crop", 10**6, 32, 2, cpu_s=1e-4, in_bytes=2e6), 10**6 * 2e6 / 2e9, "network"),
        (Work("crop", 10**6, 32, 2, cpu_s=1e-4, driver_s=1e-3), 1000, "driver"),
    ],
)
def test_what_binds_takes_as_long_as_it_needs(work, expected, bottleneck):
    played = play(work, MACHINE, 2, CALM)
    assert played.seconds == pytest.approx(expected, rel=0.02)
    assert played.bottleneck == bottleneck
    assert played.busy[bottleneck] == pytest.approx(1, abs=0.02)


def test_parts_of_exponential_length_on_several_servers():
    """Of M parts on S slots, all slots are busy until M - S are done; then the last S end one by one: the expected
    makespan is (M - S) / (S mu) + (1 + 1/2 + ... + 1/S) / mu."""
    work = Work("crop", 400, 1, 2, cpu_s=1.0)
    spread = Trouble(spread=1.0, slow_share=0, failed_share=0, lost_per_hour=0)
    found = [play(work, MACHINE, 1, spread, seed).seconds for seed in range(60)]
    expected = (400 - 8) / 8 + sum(1 / k for k in range(1, 9))
    assert np.mean(found) == pytest.approx(expected, rel=0.05)  # 60 courses: standard error 0.7%; bundles add 1%


def test_stragglers_and_retries_cost_their_share():
    work = Work("crop", 100_000, 1, 2, cpu_s=0.1)
    slow = Trouble(slow_share=0.1, slow_times=5, failed_share=0, lost_per_hour=0)
    assert play(work, MACHINE, 1, slow).seconds == pytest.approx(100_000 * 0.1 / 8 * 1.4, rel=0.02)
    failing = Trouble(slow_share=0, failed_share=0.2, lost_per_hour=0)
    played = play(work, MACHINE, 1, failing)
    assert played.retries == pytest.approx(100_000 * 0.25, rel=0.03)  # 1 / 0.8 tries each
    assert played.seconds == pytest.approx(100_000 * 0.1 / 8 * 1.125, rel=0.02)  # half a part each


def test_lost_machines_cost_their_absence():
    """Lost ten times an hour, away for 90 s: there for 360 of 450 s, and a part of 1 s is lost each time."""
    work = Work("crop", 400_000, 1, 5, cpu_s=1.0)
    losing = Trouble(slow_share=0, failed_share=0, lost_per_hour=10, replaced_s=90)
    played = play(work, MACHINE, 1, losing)
    assert played.seconds == pytest.approx(400_000 / 20 * 450 / 360, rel=0.03)
    assert played.lost == pytest.approx(played.seconds / 450 * 5, rel=0.25)


def test_a_store_that_binds_does_not_serve_what_lost_machines_asked_for():
    """What a lost machine had asked for and did not use is free for others."""
    work = Work("crop", 10**7, 32, 5, cpu_s=1e-4, gets=1.0)
    losing = Trouble(slow_share=0, failed_share=0, lost_per_hour=60, replaced_s=1)
    played = play(work, MACHINE, 1, losing)
    assert played.lost > 50
    assert played.seconds == pytest.approx(10**7 / 5500, rel=0.02)


def test_the_same_seed_gives_the_same_course():
    work = Work("crop", 10_000, 32, 3, cpu_s=0.01, gets=1.0)
    trouble = Trouble(spread=0.3, lost_per_hour=50)
    assert play(work, MACHINE, 1, trouble, 7) == play(work, MACHINE, 1, trouble, 7)
    assert play(work, MACHINE, 1, trouble, 7) != play(work, MACHINE, 1, trouble, 8)


def test_a_hundred_million_images_are_few_events():
    work = Work("crop", 10**8, 32, 20, cpu_s=0.02, in_bytes=1.5e6, gets=1.0, puts=1 / 32)
    played = play(work, MACHINE, 1, Trouble(spread=0.3))
    assert played.seconds > max(needs(work, MACHINE, 1).values()) * 0.99
