import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    f1_score,
    precision_score,
    recall_score,
)

from trapline.core.several import Several, names_of, several_scorecard

LABELS = ("ant", "bee", "cat", "dog")


def drawn(crops=400, groups=15, seed=3):
    """Crops of groups that differ in how hard they are; nothing has the last label."""
    random = np.random.default_rng(seed)
    truth = random.random((crops, 4)) < [0.5, 0.3, 0.1, 0.0]
    group = np.sort(random.integers(0, groups, crops))
    group = np.unique(group, return_inverse=True)[1]
    noise = random.normal(0, 1, (crops, 4)) + random.normal(0, 0.7, groups)[group, None]
    scores = 1 / (1 + np.exp(-(3 * truth - 1.5 + noise)))
    return Several(truth, scores.astype(np.float32), group, LABELS, "test")


def test_figures_equal_scikit_learns():
    scored = drawn()
    found = {(f.name, f.label): f for f in several_scorecard(scored)}
    truth, said, there = scored.truth, scored.said, slice(0, 3)
    kept = truth[:, there], said[:, there]
    expected = {
        "macro_average_precision": average_precision_score(truth[:, there], scored.scores[:, there]),
        "macro_recall": recall_score(*kept, average="macro"),
        "macro_f1": f1_score(*kept, average="macro"),
        "exact_match": accuracy_score(truth, said),
    }
    for name, value in expected.items():
        assert found[name, ""].value == pytest.approx(value, abs=1e-6), name
    for n, label in enumerate(LABELS[:3]):
        assert found["average_precision", label].value == pytest.approx(
            average_precision_score(truth[:, n], scored.scores[:, n]), abs=1e-6
        )
        for name, measure in (("recall", recall_score), ("precision", precision_score), ("f1", f1_score)):
            assert found[name, label].value == pytest.approx(measure(truth[:, n], said[:, n])), (name, label)
        assert found["recall", label].support == truth[:, n].sum()
    assert found["labels_per_crop", ""].value == pytest.approx(truth.sum() / len(truth))
    assert found["groups", "cat"].value == len(np.unique(scored.group[truth[:, 2]]))


def test_a_label_that_no_crop_has_gets_a_reason_and_does_not_count():
    found = {(f.name, f.label): f for f in several_scorecard(drawn())}
    for name in ("average_precision", "recall", "f1"):
        assert found[name, "dog"].value is None
        assert found[name, "dog"].reason == "no test crops of this label"
    assert found["labels", ""].value == 3


def test_intervals_hold_what_other_locations_show():
    """The spread over redrawn groups is what the interval says, within a half."""
    once = {f.name: f for f in several_scorecard(drawn(seed=0)) if not f.label}
    again = [{f.name: f.value for f in several_scorecard(drawn(seed=k)) if not f.label} for k in range(1, 60)]
    for name in ("macro_average_precision", "macro_recall", "exact_match"):
        low, high = once[name].low, once[name].high
        assert low is not None
        assert high is not None
        deviation = np.std(np.array([row[name] for row in again], float))
        assert 0.5 < (high - low) / (2 * 2.14 * deviation) < 2.0, name


def test_none_to_judge():
    empty = Several(np.zeros((0, 4), bool), np.zeros((0, 4), np.float32), np.zeros(0, np.int64), LABELS, "val")
    assert all(f.value is None or f.value == 0 for f in several_scorecard(empty))


def test_names():
    assert names_of(np.array([[1, 0, 1, 0], [0, 0, 0, 0]], bool), LABELS) == ["ant + cat", "(no label)"]
