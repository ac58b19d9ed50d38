import numpy as np
import pytest

from trapline.core import thresholds
from trapline.core.thresholds import Kept, choose, curves, in_words, outcome


def drawn(rng, groups, crops=60, labels=6, common=0.5):
    """Crops of `groups` locations whose confidences are right on average, and off by location."""
    group = np.repeat(np.arange(groups), rng.poisson(crops, groups) + 1)
    given = rng.integers(0, labels, len(group))
    ease = np.linspace(3.5, 1.0, labels)[given]
    logit = ease + rng.normal(0, 1.5, len(group))
    confidence = 1 / (1 + np.exp(-logit))
    truly = 1 / (1 + np.exp(-(logit + common * rng.normal(size=groups)[group])))
    right, number = rng.random(len(group)) < truly, np.unique(group, return_inverse=True)[1]
    return Kept(given, confidence.astype(np.float32), right, number, labels)


def test_curves_count_what_is_kept_and_right():
    crops = Kept(np.array([0, 0, 1]), np.array([0.2, 0.9, 1.0]), np.array([False, True, True]), np.arange(3), 2)
    kept, right = curves(crops)
    assert kept.shape == (3, 101)
    assert kept[0, [0, 20, 21, 90, 91]].tolist() == [2, 2, 1, 1, 0]
    assert right[0, [0, 20, 21, 90, 91]].tolist() == [1, 1, 1, 1, 0]
    assert kept[1, [0, 100]].tolist() == [1, 1]
    assert kept[2, [0, 100]].tolist() == [3, 1]  # all together


def test_curves_agree_with_the_comparison_they_stand_for():
    rng = np.random.default_rng(0)
    crops = drawn(rng, 5)
    kept, right = curves(crops)
    for step in (0, 37, 58, 92, 99):
        above = crops.confidence >= np.float32(thresholds.GRID[step])
        assert abs(kept[-1, step] - above.sum()) <= 1  # a confidence on a threshold may fall either way
        assert abs(right[-1, step] - crops.right[above].sum()) <= 1


def test_a_label_that_is_always_right_needs_no_threshold_and_one_that_errs_never_reaches_it():
    n = 300
    given = np.repeat([0, 1, 2], n)
    confidence = np.tile(np.linspace(0.5, 1, n), 3).astype(np.float32)
    right = np.concatenate([np.ones(n, bool), np.arange(n) % 2 == 0, np.arange(n) >= n // 2])
    least, why = choose(Kept(given, confidence, right, np.tile(np.arange(n) % 20, 3), 3), 0.95)
    assert least[0] <= 0.5
    assert np.isinf(least[1])
    assert "95% precision is not shown at any confidence on val" in str(why[1])
    assert 0.6 < least[2] <= 0.76  # right from 0.75 on
    assert why[0] is why[2] is None


def test_a_handful_of_crops_shows_nothing():
    crops = Kept(np.zeros(4, int), np.full(4, 0.99, np.float32), np.ones(4, bool), np.arange(4), 1)
    least, why = choose(crops, 0.95)
    assert np.isinf(least).all()
    assert why == ["only 4 val crops were named so: too few to choose a threshold"]


def test_thresholds_chosen_on_val_hold_at_other_locations():
    rng = np.random.default_rng(1)
    precisions, coverages = [], []
    for _ in range(60):
        least, _ = choose(drawn(rng, 12), 0.95)
        found = outcome(drawn(rng, 300), least)  # so many locations that what they show is the truth
        precisions.append(found.precision[-1])
        coverages.append(found.coverage[-1])
    assert np.mean(precisions) >= 0.95
    assert np.mean(np.array(precisions) >= 0.93) > 0.9
    assert np.mean(coverages) > 0.4  # and not by keeping next to nothing
    loose = [outcome(drawn(rng, 300), np.full(6, 0.5)).precision[-1] for _ in range(3)]
    assert max(loose) < 0.95  # where half-sure would not do


def test_an_outcome_by_hand():
    given = np.array([0] * 20 + [1] * 20)
    confidence = np.array([0.9, 0.6] * 20, np.float32)
    right = np.array([True] * 20 + [True, False] * 10)
    found = outcome(Kept(given, confidence, right, np.arange(40) % 10, 2), np.array([0.8, np.inf]))
    assert found.named.tolist() == [20, 20, 40]
    assert found.kept.tolist() == [10, 0, 10]
    assert found.precision[0] == found.precision[2] == 1
    assert np.isnan(found.precision[1])
    assert found.coverage.tolist() == [0.5, 0.0, 0.25]
    assert found.coverage_low[2] < 0.25 < found.coverage_high[2]


def test_the_interval_of_all_crops_together_does_not_depend_on_how_they_are_labelled():
    crops = drawn(np.random.default_rng(2), 14)
    whole = Kept(np.zeros_like(crops.given), crops.confidence, crops.right, crops.group, 1)
    apart, together = outcome(crops, np.full(6, 0.9)), outcome(whole, np.array([0.9]))
    for name in ("precision", "precision_low", "precision_high", "coverage_low", "coverage_high"):
        assert getattr(apart, name)[-1] == pytest.approx(getattr(together, name)[-1])


@pytest.mark.parametrize(
    ("never", "low", "words"),
    [
        (["fox", "hare", "owl"], 0.62, "at 95% precision (chosen on val; at test 96% (90 to 98%)), 71% (62 to 79%) of "
         "test crops need no person; 3 labels never reach it: fox, hare, owl."),
        (["fox"], None, "at 95% precision (chosen on val; at test 96% (90 to 98%)), 71% of test crops need no person; "
         "1 label never reaches it: fox."),
        ([], None, "at 95% precision (chosen on val; at test 96% (90 to 98%)), 71% of test crops need no person; "
         "every label reaches it."),
    ],
)  # fmt: skip
def test_the_sentence(never, low, words):
    assert in_words(0.95, (0.96, 0.90, 0.98), (0.71, low, 0.79), never, "test") == words
