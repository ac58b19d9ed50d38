import importlib.util
from pathlib import Path

import numpy as np
import pytest

from trapline.core import intervals

COVERAGE = Path(__file__).parents[2] / "benchmarks" / "coverage.py"


@pytest.fixture(scope="module")
def coverage():
    spec = importlib.util.spec_from_file_location("coverage_benchmark", COVERAGE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("groups", [10, 15, 40])
@pytest.mark.parametrize("setting", ["usual", "heavier tails", "bad cameras"])
def test_95_percent_intervals_hold_the_truth_in_90_to_98_percent_of_draws(coverage, groups, setting):
    found = coverage.simulate(groups, 400, seed=3, rivals=False, **coverage.SETTINGS[setting])
    assert 0.90 <= found["trapline"][0] <= 0.98  # the macro recall
    assert 0.90 <= found["per label"][0] <= 0.985


def test_the_textbook_interval_would_fail_that_test(coverage):
    draws = np.random.default_rng(3)
    hits = 0
    for _ in range(300):
        right, count, truth = coverage.draw(draws, 15)
        low, high = coverage.linearised(right, count)
        hits += low <= truth[count.sum(0) > 0].mean() <= high
    assert hits / 300 < 0.90


def test_no_interval_below_ten_groups():
    counts = np.full((9, 3), 10.0)
    found = intervals.ratio_spread(counts * 0.7, counts)
    assert np.isnan(intervals.each(found)).all()
    assert np.isnan(intervals.mean(found)).all()
    counts = np.full((10, 3), 10.0)
    assert not np.isnan(intervals.mean(intervals.ratio_spread(counts * 0.7, counts))).any()


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_all_right_or_all_wrong_still_has_a_width(share):
    counts = np.random.default_rng(0).poisson(6, (12, 4)).astype(float)
    found = intervals.ratio_spread(counts * share, counts)
    for low, high in (intervals.mean(found), *zip(*intervals.each(found), strict=True)):
        assert 0 <= low <= share <= high <= 1
        assert 0.005 < high - low < 0.6


def test_a_label_at_one_location_is_unsure_however_many_crops_it_has():
    rng = np.random.default_rng(1)
    counts = rng.poisson(30, (20, 2)).astype(float)
    counts[1:, 1] = 0
    counts[0, 1] = 600
    right = rng.binomial(counts.astype(int), 0.7).astype(float)
    right[:, 0] = rng.binomial(counts[:, 0].astype(int), rng.uniform(0.4, 1.0, 20))
    low, high = intervals.each(intervals.ratio_spread(right, counts))
    assert high[1] - low[1] > 0.25 > high[0] - low[0]


def test_a_label_without_crops_has_no_interval_and_does_not_touch_the_mean():
    rng = np.random.default_rng(2)
    counts = rng.poisson(8, (15, 2)).astype(float)
    right = rng.binomial(counts.astype(int), 0.6).astype(float)
    alone = intervals.mean(intervals.ratio_spread(right, counts))
    padded = intervals.ratio_spread(np.c_[right, np.zeros(15)], np.c_[counts, np.zeros(15)])
    assert intervals.mean(padded) == pytest.approx(alone)
    low, high = intervals.each(padded)
    assert np.isnan([low[2], high[2]]).all()
    assert not np.isnan([low[:2], high[:2]]).any()
    assert np.isnan(padded.value[2])


def test_more_locations_make_it_narrower_and_dependence_wider(coverage):
    def width(groups: int, **setting: float) -> float:
        return coverage.simulate(groups, 60, rivals=False, **setting)["trapline"][1]

    assert width(12) > width(40) > width(160)
    assert width(40, common=1.2, own=0.4) > width(40, common=0.2, own=0.2)


def test_positive_figures_stay_positive_and_cover_their_mean():
    rng = np.random.default_rng(5)
    hits = 0
    for _ in range(200):
        counts = np.exp(rng.normal(3, 1, 15)).round() + 1
        level = rng.gamma(2, 0.5, 15)  # mean 1 over locations
        losses = [rng.exponential(mean, int(n)) for mean, n in zip(level, counts, strict=True)]
        sums = np.array([[part.sum()] for part in losses])
        squares = np.array([[(part**2).sum()] for part in losses])
        low, high = intervals.mean(intervals.ratio_spread(sums, counts[:, None], squares), "positive")
        assert 0 < low < high
        hits += low <= 1 <= high
    assert 0.88 <= hits / 200 <= 0.99


def test_nothing_at_all():
    found = intervals.ratio_spread(np.zeros((12, 2)), np.zeros((12, 2)))
    assert np.isnan(intervals.mean(found)).all()
    assert np.isnan(intervals.each(found)).all()


def test_the_interval_of_a_weighted_mean_is_the_one_of_the_plain_share():
    rng = np.random.default_rng(8)
    counts = rng.poisson(12, (14, 3)).astype(float)
    right = rng.binomial(counts.astype(int), 0.7).astype(float)
    of_recalls = intervals.weighted(intervals.ratio_spread(right, counts), counts)  # which is accuracy
    plain = intervals.ratio_spread(right.sum(1, keepdims=True), counts.sum(1, keepdims=True))
    assert of_recalls.value == pytest.approx(plain.value)
    np.testing.assert_allclose(of_recalls.residuals, plain.residuals, atol=1e-12)
    assert intervals.mean(of_recalls) == pytest.approx(intervals.mean(plain), abs=1e-3)


def test_weighted_averages_cover_their_truth(coverage):
    rng, hits = np.random.default_rng(4), []
    for _ in range(300):
        right, count, truth = coverage.draw(rng, 15)
        found = intervals.weighted(intervals.ratio_spread(right, count), count)
        low, high = intervals.each(found)
        _, crops, _ = coverage.draw(rng, 400)  # the label frequencies that there could be
        share = crops.sum(0) / crops.sum()
        hits.append(low[0] <= share @ truth <= high[0])
    assert 0.90 <= np.mean(hits) <= 0.99


def test_the_gap_of_two_sets_of_places_covers_their_true_difference(coverage):
    rng, hits = np.random.default_rng(6), []
    for _ in range(200):
        here, crops_here, truth_here = coverage.draw(rng, 25, shift=0.6)
        there, crops_there, truth_there = coverage.draw(rng, 12)
        both = (crops_here.sum(0) > 0) & (crops_there.sum(0) > 0)
        value, low, high = intervals.gap(
            intervals.ratio_spread(here, crops_here), intervals.ratio_spread(there, crops_there)
        )
        assert low < value < high
        hits.append(low <= (truth_here - truth_there)[both].mean() <= high)
    assert 0.90 <= np.mean(hits) <= 0.99


def test_no_gap_interval_below_ten_groups_of_either():
    few, many = np.full((9, 2), 10.0), np.full((20, 2), 10.0)
    value, low, high = intervals.gap(intervals.ratio_spread(many, many), intervals.ratio_spread(few / 2, few))
    assert value == pytest.approx(0.5)
    assert np.isnan([low, high]).all()
