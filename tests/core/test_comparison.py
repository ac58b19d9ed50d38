from typing import Any

import numpy as np
import pytest

from trapline.core import intervals, metrics
from trapline.core.comparison import Difference, differences, in_words


def named(rng, truth, skill):
    """Labels that are right with probability `skill`, (n,)."""
    return np.where(rng.random(len(truth)) < skill, truth, (truth + 1) % 4)


def drawn(rng, groups, gain, alike=0.7):
    """Two classifiers that find the same locations hard, B better by about `gain`; and the true difference."""
    group = np.repeat(np.arange(groups), rng.poisson(np.exp(rng.normal(3, 0.8, groups))) + 1)
    truth = rng.choice(4, len(group), p=[0.5, 0.25, 0.15, 0.1])
    ease = rng.uniform(0.3, 0.5, groups)
    own = gain + rng.uniform(-0.1, 0.1, groups)  # by which B is better differs between locations
    same = rng.random(len(group)) < alike
    a = named(rng, truth, ease[group])
    b = np.where(same, a, named(rng, truth, (ease + own / (1 - alike))[group]))
    return truth, a, b, group


def compared(truth, a, b, group) -> dict[str, Any]:
    of_a, of_b = (np.where(given == truth, 0.1, 2.0) for given in (a, b))
    return {found.name: found for found in differences(truth, a, b, of_a, of_b, group, 4)}


@pytest.mark.parametrize("groups", [10, 15, 40])
def test_the_interval_of_the_difference_covers_the_true_one(groups):
    rng, hits = np.random.default_rng(groups), {"macro_recall": [], "accuracy": []}
    for _ in range(300):
        found = compared(*drawn(rng, groups, 0.05))
        for name, rows in hits.items():
            rows.append(found[name].low <= 0.05 <= found[name].high)
    for name, rows in hits.items():
        assert 0.90 <= np.mean(rows) <= 0.985, name


def test_pairing_makes_it_narrower_than_two_classifiers_apart():
    truth, a, b, group = drawn(np.random.default_rng(0), 20, 0.05)
    found = compared(truth, a, b, group)["macro_recall"]
    crops = metrics.group_counts(group, truth, 20, 4)
    hits = [metrics.group_counts(group, truth, 20, 4, (given == truth) * 1.0) for given in (a, b)]
    _, low, high = intervals.gap(intervals.ratio_spread(hits[1], crops), intervals.ratio_spread(hits[0], crops))
    assert found.high - found.low < 0.7 * (high - low)


def test_values_by_hand_and_no_interval_for_few_locations():
    truth, a, b = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 0]), np.array([0, 0, 1, 0])
    found = compared(truth, a, b, np.array([0, 0, 1, 1]))
    assert (found["macro_recall"].a, found["macro_recall"].b) == (0.5, 0.75)
    assert found["accuracy"].value == pytest.approx(0.25)
    assert found["accuracy"].low is None
    assert "fewer than 10 locations" in found["accuracy"].reason


def test_a_classifier_and_itself_do_not_differ():
    truth, a, _, group = drawn(np.random.default_rng(1), 15, 0.1)
    found = compared(truth, a, a, group)["macro_recall"]
    assert found.value == 0
    assert found.low == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize(
    ("low", "high", "value", "words"),
    [
        (0.01, 0.07, 0.04, "new named 74.0% of each label's crops right on average and old 70.0%: new is better than "
         "old by 4.0 percentage points (95% interval 1.0 to 7.0), more than chance would give."),
        (-0.02, 0.10, 0.04, "the difference of +4.0 percentage points is within what chance gives "
         "(95% interval -2.0 to +10.0)."),
        (None, None, 0.04, "whether that is more than chance cannot be said: too few."),
    ],
)  # fmt: skip
def test_the_sentence(low, high, value, words):
    found = Difference("macro_recall", 0.70, 0.74, value, low, high, "too few")
    sentence = in_words("old", "new", found, 1200, 12)
    assert sentence.startswith("At 12 locations that neither had seen (1,200 crops), ")
    assert sentence.endswith(words)


def test_the_better_one_is_named_first_whichever_it_is():
    found = Difference("macro_recall", 0.74, 0.70, -0.04, -0.07, -0.01, None)
    assert "old is better than new by 4.0 percentage points (95% interval 1.0 to 7.0)" in in_words(
        "old", "new", found, 1200, 12
    )
