import numpy as np

from trapline.learn import unseen


def clusters(rng, n=240):
    labels = rng.integers(0, 3, n)
    features = rng.normal(0, 1, (n, 8)).astype(np.float32)
    features[np.arange(n), labels] += 6
    return features, labels, np.array([f"g{k % 12}" for k in range(n)])


def test_wrong_labels_do_not_fool_the_probe_that_did_not_see_them():
    features, labels, groups = clusters(np.random.default_rng(0))
    given = labels.copy()
    given[:12] = (labels[:12] + 1) % 3
    found = unseen.probabilities(features, given, groups, 3)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-4)
    assert (found.argmax(axis=1) == labels).mean() > 0.97


def test_a_label_is_known_only_from_other_groups():
    features, labels, groups = clusters(np.random.default_rng(1))
    labels[groups == "g3"] = 3  # a label of one place
    features[5] = np.nan
    labels[7] = -1
    found = unseen.probabilities(features, labels, groups, 4)
    nobody = (groups == "g3") | (np.arange(len(labels)) == 5) | (labels == -1)
    np.testing.assert_array_equal(np.isnan(found).all(axis=1), nobody)


def test_one_group_leaves_nothing_to_judge_by():
    features, labels, groups = clusters(np.random.default_rng(2))
    assert np.isnan(unseen.probabilities(features, labels, np.full_like(groups, "g0"), 3)).all()
