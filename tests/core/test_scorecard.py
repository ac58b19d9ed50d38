import numpy as np
import pytest

from trapline.core.scorecard import Scored, scorecard, top_ks


def card(truth, predicted, group, labels=("bobcat", "coyote", "deer")):
    scores = np.full((len(truth), len(labels)), 0.1, np.float32)
    scores[np.arange(len(truth)), predicted] = 0.8
    scored = Scored(np.array(truth), scores, np.array(group), labels, "test")
    return {(figure.name, figure.label): figure for figure in scorecard(scored, (1, 3), 0)}


def test_a_small_split_by_hand():
    found = card([0, 0, 0, 1], [0, 0, 1, 1], [0, 1, 1, 2])
    assert found["macro_recall", ""].value == pytest.approx((2 / 3 + 1) / 2)
    assert found["accuracy", ""].value == pytest.approx(0.75)
    assert found["recall", "bobcat"].value == pytest.approx(2 / 3)
    assert found["precision", "coyote"].value == pytest.approx(0.5)
    assert found["f1", "coyote"].value == pytest.approx(2 / 3)
    assert [found["groups", label].value for label in ("bobcat", "coyote", "deer")] == [2, 1, 0]
    assert found["labels", ""].value == 2
    assert found["chance_macro_recall", ""].value == 0.5
    assert found["majority_accuracy", ""].value == 0.75


def test_undefined_figures_are_null_with_a_reason():
    found = card([0, 0, 1], [0, 0, 0], [0, 1, 2])
    assert found["recall", "deer"].value is None
    assert found["recall", "deer"].reason == "no test crops of this label"
    assert found["f1", "deer"].reason == found["average_precision", "deer"].reason == "no test crops of this label"
    assert found["precision", "coyote"].value is None
    assert found["precision", "coyote"].reason == "never predicted"
    assert found["recall", "coyote"].value == 0


def test_a_label_absent_from_test_has_no_f1_even_where_it_was_predicted():
    found = card([0, 0, 1], [0, 2, 1], [0, 1, 2])
    assert found["f1", "deer"].value is None
    assert found["precision", "deer"].value == 0
    assert found["macro_f1", ""].value == pytest.approx((2 / 3 + 1) / 2)


def test_few_locations_give_no_interval_and_say_so():
    few = card([0, 1] * 9, [0, 1] * 9, [n // 2 for n in range(18)])["macro_recall", ""]
    assert (few.value, few.low, few.high) == (1, None, None)
    assert few.reason == ("fewer than 10 locations: too few for an interval; `trapline split --folds 5` tests at all")
    enough = card([0, 1] * 10, [0, 1] * 10, [n // 2 for n in range(20)])["macro_recall", ""]
    assert enough.low is not None
    assert enough.low < 1
    assert enough.value == enough.high == 1
    assert enough.reason is None


def test_no_crops_give_every_figure_a_reason():
    found = card([], [], [])
    assert {figure.name for figure in found.values() if figure.value is not None} == {"crops", "groups", "labels"}
    assert all(figure.reason for figure in found.values() if figure.value is None)


def test_top_k_that_is_always_right_is_left_out():
    assert top_ks((3, 1), 2) == [1]
    assert top_ks((1, 3), 3) == [1]
    assert top_ks((1, 3, 5), 5) == [1, 3]
    assert ("top3_accuracy", "") not in card([0], [0], [0])
