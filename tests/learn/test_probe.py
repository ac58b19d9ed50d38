import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from trapline.learn import probe


def blobs(n_labels, counts, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.normal(0, 2, (n_labels, 6))
    labels = np.repeat(np.arange(n_labels), counts)
    return (rng.normal(0, 1, (len(labels), 6)) + centres[labels]) * [1, 10, 0.1, 1, 1, 1] + 5, labels


def test_the_folded_head_equals_scikit_learn_on_standardised_features():
    for n_labels, counts in ((3, [40, 10, 25]), (2, [30, 7])):
        features, labels = blobs(n_labels, counts)
        weight, bias = probe.fit(features, labels, np.ones(len(labels)), n_labels)
        scaled = (features - features.mean(0)) / features.std(0)
        reference = LogisticRegression(C=probe.PENALTY_C, class_weight="balanced", max_iter=1000).fit(scaled, labels)
        scores = torch.softmax(torch.tensor(features @ weight.T + bias), 1).numpy()
        np.testing.assert_allclose(scores, reference.predict_proba(scaled), atol=1e-3)


def test_a_label_without_crops_is_never_predicted():
    features, labels = blobs(2, [20, 20])
    labels = labels * 2  # labels 0 and 2 of 3
    weight, bias = probe.fit(features, labels, np.ones(40), 3)
    assert weight.shape == (3, 6)
    assert set((features @ weight.T + bias).argmax(1)) == {0, 2}


def test_a_constant_feature_does_no_harm():
    features, labels = blobs(2, [20, 20])
    features[:, 3] = 7.0
    weight, bias = probe.fit(features, labels, np.ones(40), 2)
    assert np.isfinite(weight).all()
    assert np.isfinite(bias).all()
    assert ((features @ weight.T + bias).argmax(1) == labels).mean() > 0.9


def test_weights_count():
    features, labels = blobs(2, [30, 30])
    heavy = np.ones(60)
    heavy[:5] = 50.0
    light, _ = probe.fit(features, labels, np.ones(60), 2)
    changed, _ = probe.fit(features, labels, heavy, 2)
    assert not np.allclose(light, changed)


def test_choose_spreads_over_labels(monkeypatch):
    monkeypatch.setattr(probe, "MAX_CROPS", 30)
    labels = np.repeat([0, 1, 2], [500, 300, 5])
    chosen = probe.choose(labels, 0)
    assert len(chosen) == 30
    assert np.bincount(labels[chosen]).tolist() in ([13, 12, 5], [12, 13, 5])
    np.testing.assert_array_equal(chosen, probe.choose(labels, 0))
    np.testing.assert_array_equal(probe.choose(labels[:30], 0), np.arange(30))


def test_install():
    head = nn.Linear(4, 2)
    probe.install(head, np.ones((2, 4), np.float32), np.full(2, 3, np.float32))
    assert head(torch.ones(1, 4)).tolist() == [[7.0, 7.0]]
