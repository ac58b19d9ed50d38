import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, log_loss

from trapline.learn import probe
from trapline.learn.loader import sampling_weights
from trapline.learn.validation import judge

RNG = np.random.default_rng(0)
TRUTH = (RNG.random((80, 3)) < [0.5, 0.2, 0.1]).astype(np.float32)


def test_judged_as_scikit_learn_does():
    scores = np.clip(0.3 * TRUTH + RNG.random((80, 3)) * 0.7, 0.01, 0.99)
    found = judge(scores, TRUTH)
    columns = list(zip(TRUTH.T, scores.T, strict=True))
    assert found.score == found.mean_ap == pytest.approx(np.mean([average_precision_score(*c) for c in columns]))
    assert found.loss == pytest.approx(np.mean([log_loss(*c) for c in columns]))
    assert found.accuracy == pytest.approx(((scores >= 0.5) == (TRUTH > 0)).all(1).mean())


def test_labels_share_the_draws():
    """Every label with crops adds the same; crops without any label are not drawn."""
    shares = sampling_weights(TRUTH, np.ones(80), balanced=True)
    assert shares is not None
    assert shares.sum() == pytest.approx(1)
    assert (shares[TRUTH.sum(1) == 0] == 0).all()
    expected = sum(TRUTH[:, k] / TRUTH[:, k].sum() / 3 for k in range(3))
    np.testing.assert_allclose(shares, expected)


def test_the_probe_is_one_regression_per_label():
    features = RNG.normal(5, 3, (80, 6)) + 2 * TRUTH @ RNG.normal(0, 1, (3, 6))
    weight, bias = probe.fit(features, TRUTH, np.ones(80), 3)
    scaled = (features - features.mean(0)) / features.std(0)
    for k in range(3):
        reference = LogisticRegression(C=probe.PENALTY_C, class_weight="balanced", max_iter=1000)
        expected = reference.fit(scaled, TRUTH[:, k]).decision_function(scaled)
        np.testing.assert_allclose(features @ weight[k] + bias[k], expected, atol=1e-3)
