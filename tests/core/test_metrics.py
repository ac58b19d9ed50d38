import numpy as np
import pytest
from sklearn import metrics as sk

from trapline.core import metrics


@pytest.fixture
def drawn():
    rng = np.random.default_rng(4)
    truth = rng.choice(6, 400, p=[0.4, 0.3, 0.15, 0.1, 0.04, 0.01])
    raw = rng.gamma(0.6, size=(400, 6)) + 1e-3
    raw[np.arange(400), truth] += rng.gamma(0.8, size=400)
    scores = (raw / raw.sum(1, keepdims=True)).astype(np.float32)
    return truth, scores, metrics.confusion(truth, scores.argmax(1), 6)


def test_confusion_counts_true_labels_in_rows():
    found = metrics.confusion(np.array([0, 0, 1, 2]), np.array([0, 2, 1, 1]), 3)
    assert found.tolist() == [[1, 0, 1], [0, 1, 0], [0, 1, 0]]


def test_figures_equal_scikit_learns(drawn):
    truth, scores, matrix = drawn
    predicted = scores.argmax(1)
    assert matrix.tolist() == sk.confusion_matrix(truth, predicted).tolist()
    precision, recall, f1, _ = sk.precision_recall_fscore_support(truth, predicted, zero_division=np.nan)  # pyright: ignore[reportArgumentType]
    np.testing.assert_allclose(metrics.precision(matrix), precision)
    np.testing.assert_allclose(metrics.recall(matrix), recall)
    np.testing.assert_allclose(metrics.f1(matrix), f1)
    assert metrics.accuracy(matrix) == pytest.approx(sk.accuracy_score(truth, predicted))
    assert metrics.macro(metrics.recall(matrix)) == pytest.approx(sk.balanced_accuracy_score(truth, predicted))
    assert metrics.macro(metrics.f1(matrix)) == pytest.approx(sk.f1_score(truth, predicted, average="macro"))


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_top_k_equals_scikit_learns(drawn, k):
    truth, scores, _ = drawn
    found = metrics.top_k(metrics.true_rank(truth, scores), k)
    assert found == pytest.approx(sk.top_k_accuracy_score(truth, scores, k=k, labels=range(6)))


def test_log_loss_equals_scikit_learns_weighted_and_not(drawn):
    truth, scores, _ = drawn
    scores = scores.astype(np.float64) / scores.astype(np.float64).sum(1, keepdims=True)
    losses = metrics.crop_losses(truth, scores)
    assert losses.mean() == pytest.approx(sk.log_loss(truth, scores, labels=range(6)))
    weights = metrics.label_balanced_weights(truth, 6)
    weighted = sk.log_loss(truth, scores, sample_weight=weights, labels=range(6))
    assert metrics.macro(metrics.mean_by_label(losses, truth, 6)) == pytest.approx(weighted)


def test_brier_scores_equal_scikit_learns_weighted_and_not(drawn):
    truth, scores, _ = drawn
    scores = scores.astype(np.float64) / scores.astype(np.float64).sum(1, keepdims=True)
    briers = metrics.crop_briers(truth, scores)
    plain = sk.brier_score_loss(truth, scores, labels=range(6))  # of more than two labels not halved
    assert briers.mean() == pytest.approx(plain)
    weights = metrics.label_balanced_weights(truth, 6)
    weighted = sk.brier_score_loss(truth, scores, sample_weight=weights, labels=range(6))
    assert metrics.macro(metrics.mean_by_label(briers, truth, 6)) == pytest.approx(weighted)


@pytest.mark.parametrize("name", ["precision", "recall", "f1"])
def test_averages_over_labels_equal_scikit_learns(drawn, name):
    truth, scores, matrix = drawn
    given = scores.argmax(1)
    given[given == 3] = 0  # never predicted: no precision
    matrix, support = metrics.confusion(truth, given, 6), np.bincount(truth, minlength=6)
    values, theirs = getattr(metrics, name)(matrix), getattr(sk, f"{name}_score")
    for kind, found in (("macro", metrics.macro(values)), ("weighted", metrics.weighted(values, support))):
        assert found == pytest.approx(theirs(truth, given, average=kind, zero_division=np.nan))
    if name == "recall":
        assert metrics.weighted(values, support) == pytest.approx(metrics.accuracy(matrix))


def test_weighted_figures_without_crops_are_undefined():
    assert np.isnan(metrics.weighted(np.array([np.nan, np.nan]), np.array([0, 0])))


def test_a_probability_of_zero_has_a_finite_loss():
    assert np.isfinite(metrics.crop_losses(np.array([1]), np.array([[1.0, 0.0]], np.float32))).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])  # sorted in two ways
@pytest.mark.parametrize("digits", [7, 1])  # with one digit most scores are ties
def test_average_precision_equals_scikit_learns(drawn, digits, dtype):
    truth, scores, _ = drawn
    scores = scores.astype(dtype)
    for label in range(6):
        score = scores[:, label].round(digits)
        found, _ = metrics.average_precision(truth == label, score, np.zeros(400, int), 1)
        assert found == pytest.approx(sk.average_precision_score(truth == label, score))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_average_precisions_influence_is_its_derivative_by_a_crops_weight(drawn, dtype):
    truth, scores, _ = drawn
    positive, score, step = truth == 2, scores[:, 2].round(2).astype(dtype), 1e-6
    value, influence = metrics.average_precision(positive, score, np.arange(400), 400)
    for crop in (0, 7, int(np.flatnonzero(positive)[0]), int(score.argmax())):
        weights = np.ones(len(truth))
        weights[crop] += step
        moved = sk.average_precision_score(positive, score, sample_weight=weights)
        assert influence[crop] == pytest.approx((moved - value) / step, abs=1e-6)


def test_labels_without_crops_or_predictions_are_undefined_and_not_zero():
    matrix = np.array([[2, 1, 0], [0, 0, 0], [1, 0, 0]])  # label 1 has no crops, label 2 is never predicted
    np.testing.assert_allclose(metrics.recall(matrix), [2 / 3, np.nan, 0])
    np.testing.assert_allclose(metrics.precision(matrix), [2 / 3, 0, np.nan])
    np.testing.assert_allclose(metrics.f1(matrix), [2 / 3, np.nan, 0])
    assert metrics.macro(metrics.recall(matrix)) == pytest.approx(1 / 3)


def test_no_crops_at_all_are_undefined():
    nothing = np.zeros((2, 2), int)
    empty = np.zeros(0, int)
    values = [
        metrics.accuracy(nothing),
        metrics.macro(metrics.recall(nothing)),
        metrics.top_k(empty, 1),
        metrics.average_precision(np.zeros(3, bool), np.zeros(3), np.zeros(3, int), 1)[0],
        metrics.chance_macro_recall(nothing.sum(1)),
        metrics.majority_accuracy(nothing.sum(1), 0),
        metrics.majority_macro_recall(nothing.sum(1), 0),
    ]
    assert np.isnan(values).all()


def test_ties_rank_like_argmax():
    scores = np.full((3, 3), 1 / 3, np.float32)
    assert metrics.true_rank(np.array([0, 1, 2]), scores).tolist() == [0, 1, 2]
    assert scores.argmax(1).tolist() == [0, 0, 0]


def test_ranks_do_not_depend_on_the_chunk_size(drawn, monkeypatch):
    truth, scores, _ = drawn
    whole = metrics.true_rank(truth, scores)
    monkeypatch.setattr(metrics, "CHUNK", 7)
    assert (metrics.true_rank(truth, scores) == whole).all()


def test_label_balanced_weights_give_every_label_present_the_same_sum():
    truth = np.array([0, 0, 0, 2])
    weights = metrics.label_balanced_weights(truth, 3)
    np.testing.assert_allclose(np.bincount(truth, weights, 3), [2, 0, 2])


def test_what_guessing_and_the_majority_reach():
    support = np.array([6, 3, 1, 0])
    assert metrics.chance_macro_recall(support) == pytest.approx(1 / 3)
    assert metrics.majority_macro_recall(support, 0) == pytest.approx(1 / 3)
    assert metrics.majority_accuracy(support, 0) == pytest.approx(0.6)
    assert metrics.majority_macro_recall(support, 3) == 0  # common in train, absent here: never right


def test_group_counts_sum_per_group_and_label():
    group, label = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])
    assert metrics.group_counts(group, label, 2, 3).tolist() == [[1, 1, 0], [0, 2, 0]]
    assert metrics.group_counts(group, label, 2, 3, np.array([1.0, 0, 0.5, 1])).tolist() == [[1, 0, 0], [0, 1.5, 0]]
