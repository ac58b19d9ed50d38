import numpy as np
import pytest

from trapline.core import calibration

LABELS = ["bobcat", "coyote", "deer", "fox"]


def drawn(n=4000, labels=4, seed=0, spread=2.0):
    """True probabilities, labels drawn from them, and 20 groups."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, labels)) * spread
    true = np.exp(logits)
    true /= true.sum(1, keepdims=True)
    truth = (true.cumsum(1) > rng.random((n, 1))).argmax(1)
    return logits, true, truth, np.arange(n) % 20


def softmax(logits):
    raised = np.exp(logits - logits.max(1, keepdims=True))
    return (raised / raised.sum(1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("too_sure", [0.5, 1.0, 3.0])
def test_temperature_scaling_finds_the_factor_that_was_applied(too_sure):
    logits, true, truth, group = drawn()
    known = calibration.fit(truth, softmax(logits * too_sure), group, LABELS, "temperature")
    assert known.method == "temperature"
    assert known.temperature == pytest.approx(too_sure, rel=0.05)
    np.testing.assert_allclose(calibration.apply(known, softmax(logits * too_sure)), true, atol=0.03)


def test_temperature_is_the_least_log_loss_by_brute_force():
    logits, _, truth, _ = drawn(400, seed=3)
    logs = np.log(softmax(logits * 2))
    scales = np.linspace(0.2, 1.2, 1001)
    losses = [-np.log(softmax(logs * scale)[np.arange(400), truth]).mean() for scale in scales]
    assert calibration.temperature_scale(truth, logs) == pytest.approx(scales[np.argmin(losses)], abs=0.002)


def test_vector_scaling_puts_right_labels_that_are_wrong_each_in_their_own_way():
    logits, _, _, group = drawn(20_000)
    scores = softmax(logits)
    scale, offset = np.array([1.0, 0.6, 1.0, 1.6]), np.array([0.0, -1.0, 0.7, 0.0])
    true = softmax(np.log(scores) * scale + offset)
    truth = (true.cumsum(1) > np.random.default_rng(1).random((20_000, 1))).argmax(1)
    known = calibration.fit(truth, scores, group, LABELS)
    assert known.method == "vector"
    assert known.log_loss["vector"] < known.log_loss["temperature"] <= known.log_loss["raw"] + 1e-4
    np.testing.assert_allclose(known.scale, scale, atol=0.1)
    common = calibration.apply(calibration.fit(truth, scores, group, LABELS, "temperature"), scores)
    assert np.abs(calibration.apply(known, scores) - true).mean() < 0.2 * np.abs(common - true).mean()


def test_one_factor_is_kept_where_more_do_not_help():
    found = []
    for seed in range(10):
        logits, _, truth, group = drawn(600, seed=seed)
        found.append(calibration.fit(truth, softmax(logits * 3), group, LABELS).method)
    assert found.count("temperature") >= 7  # one standard error is passed by chance in a sixth of the cases


def test_a_label_without_val_crops_keeps_about_the_common_factor():
    logits, _, truth, group = drawn(3000)
    kept = truth != 3
    known = calibration.fit(truth[kept], softmax(logits * 2)[kept], group[kept], LABELS, "vector")
    assert np.isfinite([*known.scale, *known.offset]).all()
    assert 0.25 < known.scale[3] < 1


def test_calibrated_scores_are_probabilities_even_of_zeros_and_ones():
    known = calibration.Calibration(LABELS, "vector", None, np.array([0.5, 1, 2, 3]), np.array([0, 1, -1, 2.0]), 2.0)
    scores = np.array([[1, 0, 0, 0], [0.25, 0.25, 0.25, 0.25], [0, 0, 0.5, 0.5]], np.float32)
    found = calibration.apply(known, scores)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(found[1], softmax(np.log(scores[1:2]) * known.scale + known.offset)[0], rtol=1e-5)


@pytest.mark.parametrize(("crops", "groups"), [(0, 0), (49, 7), (500, 1)])
def test_too_little_val_calibrates_nothing_and_says_so(crops, groups):
    logits, _, truth, _ = drawn(max(crops, 1))
    group = np.arange(crops) % max(groups, 1)
    known = calibration.fit(truth[:crops], softmax(logits)[:crops], group, LABELS)
    assert known.method == "none"
    assert known.reason == f"{crops} val crops at {groups} locations: too few to calibrate on"
    np.testing.assert_allclose(calibration.apply(known, softmax(logits)), softmax(logits), rtol=1e-5)
