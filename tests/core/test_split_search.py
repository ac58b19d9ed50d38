"""The search and the bound against brute force on tables small enough to try everything."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from slow_splits import read_counts, slow_missing, slow_score
from trapline.core import splitting
from trapline.core.split_bound import lower_bound, whole_numbers
from trapline.core.split_search import optimise
from trapline.core.splitting import TEST, TRAIN, best_random, needed_splits, open_splits, smallest_first

FRACTIONS = (0.6, 0.2, 0.2)


def solve(counts, fractions=FRACTIONS, seed=0, steps=None, allowed=None):
    allowed = open_splits(len(counts), fractions) if allowed is None else allowed
    needed = needed_splits(counts, fractions, allowed)
    starts = [best_random(counts, fractions, 30, 10 * seed + n, allowed) for n in range(8 if len(counts) < 200 else 1)]
    return optimise(counts, fractions, needed, allowed, starts, seed, steps)


def brute_force(counts, fractions=FRACTIONS, is_test=None):
    """The lowest (missing labels, score) of all assignments with every wished-for split filled, without numpy."""
    wished = [s for s, fraction in enumerate(fractions) if fraction > 0]
    best = (10**9, 10**9)
    for places in product(wished, repeat=len(counts)):
        if is_test is not None and any((place == TEST) != fixed for place, fixed in zip(places, is_test, strict=True)):
            continue
        if is_test is None and set(places) != set(wished):
            continue
        rows = counts.tolist()
        best = min(best, (slow_missing(rows, places, fractions), slow_score(rows, places, fractions)))
    return best


def small(seed, groups=7, labels=3):
    rng = np.random.default_rng(seed)
    counts = np.floor(rng.lognormal(1, 1.2, (groups, labels)) * (rng.random((groups, labels)) < 0.7))
    counts[np.arange(groups), rng.integers(0, labels, groups)] += 1
    return counts


@pytest.mark.parametrize("tried", [0, 60_000])
@pytest.mark.parametrize("seed", range(5))
def test_finds_the_optimum_of_small_tables(seed, tried, monkeypatch):
    """By search alone, and by trying everything."""
    monkeypatch.setattr("trapline.core.split_search.TRIED", tried)
    counts = small(seed)
    found = solve(counts, steps=1500)
    short, best = brute_force(counts)
    assert slow_missing(counts.tolist(), found.tolist(), FRACTIONS) == short
    close = 1e-9 if tried else 0.02
    assert slow_score(counts.tolist(), found.tolist(), FRACTIONS) == pytest.approx(best, rel=close)


@pytest.mark.parametrize("seed", range(5))
def test_the_bound_is_below_the_optimum_and_near_it(seed):
    counts = small(seed)
    needed, allowed = needed_splits(counts, FRACTIONS), open_splits(len(counts), FRACTIONS)
    best = brute_force(counts)[1]
    cheap, _ = lower_bound(counts, FRACTIONS, needed, allowed)
    proven, how = lower_bound(counts, FRACTIONS, needed, allowed, nodes=500)
    assert 0 <= cheap <= proven <= best + 1e-9
    assert proven > 0.9 * best
    assert how in ("label by label", "branch and bound")


def test_a_fixed_test_set_raises_the_bound():
    counts = small(3, groups=8, labels=2)
    is_test = np.arange(8) < 3
    allowed = splitting.fixed_test(is_test, FRACTIONS)
    needed = needed_splits(counts, FRACTIONS, allowed)
    bound, _ = lower_bound(counts, FRACTIONS, needed, allowed, nodes=200)
    found = solve(counts, allowed=allowed, steps=1000)
    assert ((found == TEST) == is_test).all()
    best = min(
        slow_score(counts.tolist(), places, FRACTIONS)
        for places in product(range(3), repeat=8)
        if all((place == TEST) == fixed for place, fixed in zip(places, is_test, strict=True))
        and not splitting.missing(counts, np.array(places), needed)
    )
    assert bound <= best + 1e-9
    assert bound > 0.8 * best
    assert slow_score(counts.tolist(), found.tolist(), FRACTIONS) == pytest.approx(best, rel=0.02)


@given(st.integers(1, 40), st.sampled_from([FRACTIONS, (0.7, 0.2, 0.1), (0.8, 0.0, 0.2)]))
def test_whole_numbers_are_shared_out_best(n, fractions):
    needed = np.array([fraction > 0 for fraction in fractions]) & (n >= 3)
    options = [
        (a, b, n - a - b)
        for a in range(n + 1)
        for b in range(n + 1 - a)
        if all(k > 0 or not must for k, must in zip((a, b, n - a - b), needed, strict=True))
    ]
    best = min(sum((k / n - t) ** 2 for k, t in zip(ks, fractions, strict=True)) for ks in options)
    assert whole_numbers(n, np.array(fractions), needed) == pytest.approx(best)


tables = hnp.arrays(int, st.tuples(st.integers(1, 9), st.integers(1, 4)), elements=st.integers(0, 5)).map(
    lambda counts: counts.astype(float)
)


@given(tables, st.sampled_from([FRACTIONS, (0.8, 0.0, 0.2), (1.0, 0.0, 0.0)]), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_any_counts(counts, fractions, seed):
    start = best_random(counts, fractions, 20, seed)
    needed, allowed = needed_splits(counts, fractions), open_splits(len(counts), fractions)
    found = optimise(counts, fractions, needed, allowed, [start], seed, steps=60)
    rows = counts.tolist()
    assert slow_missing(rows, found.tolist(), fractions) <= slow_missing(rows, start.tolist(), fractions)
    assert slow_score(rows, found.tolist(), fractions) <= slow_score(rows, start.tolist(), fractions) + 1e-9
    assert set(found.tolist()) <= {s for s in range(3) if fractions[s] > 0} | set(start.tolist())
    assert set(start.tolist()) <= set(found.tolist())  # no split is emptied
    assert (optimise(counts, fractions, needed, allowed, [start], seed, steps=60) == found).all()
    first = smallest_first(counts, fractions)
    assert all(fractions[place] > 0 for place in first)


def test_a_larger_table_keeps_every_label_and_depends_on_the_seed_alone():
    counts = small(0, groups=60, labels=9)
    found = solve(counts, steps=800)
    assert slow_missing(counts.tolist(), found.tolist(), FRACTIONS) == 0
    assert (solve(counts, steps=800) == found).all()
    assert not (solve(counts, seed=1, steps=800) == found).all()
    assert slow_score(counts.tolist(), found.tolist(), FRACTIONS) < 0.3 * slow_score(
        counts.tolist(), best_random(counts, FRACTIONS, 2000, 0).tolist(), FRACTIONS
    )


def test_beyond_the_gram_limit_steps_look_at_a_sample(monkeypatch):
    monkeypatch.setattr("trapline.core.split_search.GRAM_GROUPS", 20)
    counts = small(1, groups=50, labels=4)
    found = solve(counts, steps=800)
    start = best_random(counts, FRACTIONS, 2000, 0)
    assert slow_missing(counts.tolist(), found.tolist(), FRACTIONS) == 0
    assert slow_score(counts.tolist(), found.tolist(), FRACTIONS) < 0.5 * slow_score(
        counts.tolist(), start.tolist(), FRACTIONS
    )


@pytest.mark.parametrize(("name", "at_most"), [("300x30.csv", 0.152), ("3000x100.csv", 0.0946)])
def test_far_below_the_best_of_ten_thousand_draws(name, at_most):
    counts, fractions = read_counts(name), (0.7, 0.2, 0.1)
    found = solve(counts, fractions)
    assert slow_score(counts.tolist(), found.tolist(), fractions) <= at_most
    assert slow_missing(counts.tolist(), found.tolist(), fractions) == 0


def test_smallest_first_places_the_rarest_label_first():
    counts = np.zeros((9, 2))
    counts[:, 0] = 10
    counts[[1, 4, 7], 1] = (6, 2, 2)  # the rare label decides where its groups go: largest to train
    found = smallest_first(counts, FRACTIONS)
    assert found[1] == TRAIN
    assert sorted(found[[1, 4, 7]]) == [0, 1, 2]
    assert np.bincount(found, minlength=3).min() >= 1
