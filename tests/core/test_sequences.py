import numpy as np
import pytest

from trapline.core import sequences
from trapline.core.sequences import aggregate

SCORES = np.array([[0.9, 0.1], [0.4, 0.6], [0.45, 0.55], [0.2, 0.8], [0.02, 0.98], [0.7, 0.3]], np.float32)


@pytest.mark.parametrize("rule", ["mean_log", "mean", "surest"])
def test_rules_by_hand(rule):
    truth, group, sequence = np.array([0, 0, 0, 1, 0, 1]), np.array([0, 0, 0, 0, 1, 1]), np.array([0, 0, 0, 1, 2, 2])
    found = aggregate(SCORES, truth, group, sequence, rule)
    assert found.of.tolist() == [0, 0, 0, 1, 2, 2]
    assert found.truth.tolist() == [0, 1, -1]  # the last holds two labels
    assert found.group.tolist() == [0, 0, 1]
    expected = {
        "mean_log": [(0, (0.9 * 0.4 * 0.45) ** (1 / 3)), (1, 0.8), (1, (0.98 * 0.3) ** 0.5)],
        "mean": [(0, 1.75 / 3), (1, 0.8), (1, 0.64)],
        "surest": [(0, 0.9), (1, 0.8), (1, 0.98)],
    }[rule]
    other = [(0.1 * 0.6 * 0.55) ** (1 / 3), 0.2, (0.02 * 0.7) ** 0.5]
    assert found.predicted.tolist() == [label for label, _ in expected]
    wanted = [value / (value + rest) if rule == "mean_log" else value
              for (_, value), rest in zip(expected, other, strict=True)]  # fmt: skip
    np.testing.assert_allclose(found.confidence, wanted, rtol=1e-5)


def test_long_tables_are_read_in_pieces_that_break_no_sequence(monkeypatch):
    rng = np.random.default_rng(0)
    scores = rng.dirichlet(np.ones(5), 500).astype(np.float32)
    sequence = np.unique(np.sort(rng.integers(0, 90, 500)), return_inverse=True)[1]
    truth, group = rng.integers(0, 5, 500), sequence // 10
    whole = aggregate(scores, truth, group, sequence)
    monkeypatch.setattr(sequences, "CHUNK", 7)
    pieces = aggregate(scores, truth, group, sequence)
    assert pieces.predicted.tolist() == whole.predicted.tolist()
    np.testing.assert_allclose(pieces.confidence, whole.confidence, rtol=1e-5)
    plain = [np.log(scores[sequence == n]).mean(0).argmax() for n in range(sequence.max() + 1)]
    assert whole.predicted.tolist() == plain


def test_a_score_of_zero_does_not_veto_a_burst():
    scores = np.array([[1, 0, 0], [0.0, 1, 0], [0.9, 0.1, 0], [0.8, 0.1, 0.1]], np.float32)
    found = aggregate(scores, np.zeros(4, int), np.zeros(4, int), np.zeros(4, int))
    assert np.isfinite(found.confidence).all()
    assert found.predicted.tolist() == [0]


def test_no_crops():
    nothing = np.zeros(0, int)
    assert len(aggregate(np.zeros((0, 3), np.float32), nothing, nothing, nothing).predicted) == 0
