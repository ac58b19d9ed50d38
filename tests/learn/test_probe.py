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


def test_choose_spreads_over_labels():
    labels = np.repeat([0, 1, 2], [500, 300, 5])
    chosen = probe.choose(labels, 0, 30)
    assert len(chosen) == 30
    assert np.bincount(labels[chosen]).tolist() in ([13, 12, 5], [12, 13, 5])
    np.testing.assert_array_equal(chosen, probe.choose(labels, 0, 30))
    np.testing.assert_array_equal(probe.choose(labels[:30], 0, 30), np.arange(30))


def test_install():
    head = nn.Linear(4, 2)
    probe.install(head, np.ones((2, 4), np.float32), np.full(2, 3, np.float32))
    assert head(torch.ones(1, 4)).tolist() == [[7.0, 7.0]]


def places(signal, noise, seed=0, groups=12, each=30):
    """Two labels in every place; `signal` features tell them, and `noise` features tell them in that place only."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(groups), each)
    labels = rng.integers(0, 2, len(group))
    true = rng.normal(0, 1, (len(group), signal)) + 0.8 * labels[:, None]
    place = rng.normal(0, 1.5, (groups, 2, noise))[group, labels]  # what a camera's background adds to a label
    features = np.hstack([true, place + rng.normal(0, 0.3, place.shape)]) if noise else true
    return features, labels, np.ones(len(group)), group, 2


def test_the_penalty_stays_where_no_other_is_clearly_better():
    features, labels, weights, group, n = places(signal=4, noise=0)
    assert probe.choose_penalty(10 * features, labels, weights, group, n, seed=0) == probe.PENALTY_C
    assert probe.choose_penalty(features, labels, weights, group // 6, n, seed=0) == probe.PENALTY_C  # two places


def test_a_penalty_that_is_better_at_places_left_out_is_chosen():
    """One faint feature among many that are alike: only a weak penalty lets it decide."""
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(12), 30)
    labels = rng.integers(0, 2, len(group))
    shared = rng.normal(0, 1, (len(group), 1))
    features = shared + rng.normal(0, 0.05, (len(group), 30))
    features[:, 0] = shared[:, 0] + 0.4 * (labels - 0.5)
    args = (features, labels, np.ones(len(group)), group, 2)
    chosen = probe.choose_penalty(*args, seed=0)
    assert chosen > probe.PENALTY_C

    def held_out(penalty):
        right = []
        for place in range(12):
            train = group != place
            weight, bias = probe.fit(features[train], labels[train], np.ones(train.sum()), 2, penalty)
            right += list((features[~train] @ weight.T + bias).argmax(1) == labels[~train])
        return np.mean(right)

    assert held_out(chosen) > held_out(probe.PENALTY_C) + 0.05
