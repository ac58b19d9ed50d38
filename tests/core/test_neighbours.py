import numpy as np
import pytest
from scipy.spatial.distance import cdist

from trapline.core import neighbours
from trapline.core.neighbours import nearest, nearest_within, unit


def test_neighbours_are_those_of_scipys_cosine_distance():
    features = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
    distances = cdist(features.astype(float), features.astype(float), "cosine")
    for row in (0, 7, 49):
        order = [k for k in np.argsort(distances[row]) if k != row][:5]
        found = nearest(unit(features), row, 5)
        assert [k for k, _ in found] == order
        np.testing.assert_allclose([alike for _, alike in found], 1 - distances[row][order], atol=1e-5)


def test_a_crop_without_features_has_no_neighbours():
    units = unit(np.array([[0, 0], [1, 0], [np.nan, 0]], np.float32))
    assert nearest(units, 0, 5) == nearest(units, 2, 5) == []
    assert [k for k, _ in nearest(units, 1, 5)] == [0, 2]


def test_neighbours_of_a_label_are_those_of_a_plain_sort(monkeypatch):
    features = np.random.default_rng(0).normal(size=(70, 6))
    features[3] = np.nan
    label = np.arange(70) % 2
    label[8] = -1
    monkeypatch.setattr(neighbours, "BLOCK_BYTES", 4 * 35 * 8)  # several blocks
    found = nearest_within(unit(features), 4, label, most=100)
    for row in range(70):
        if row in (3, 8):
            assert (found.index[row] == -1).all()
            continue
        others = [k for k in range(70) if k not in (row, 3, 8) and label[k] == label[row]]
        length = np.linalg.norm
        cosine = {k: features[row] @ features[k] / length(features[row]) / length(features[k]) for k in others}
        assert list(found.index[row]) == sorted(others, key=lambda k: -cosine[k])[:4]
        assert found.similarity[row, 0] == pytest.approx(max(cosine.values()), abs=1e-5)


def test_fewer_than_k_of_a_label():
    features = np.random.default_rng(1).normal(size=(5, 3))
    found = nearest_within(unit(features), 3, np.array([0, 0, 0, 1, 2]), most=100)
    assert set(found.index[0]) == {1, 2, -1}
    assert (found.index[3:] == -1).all()


def test_of_a_frequent_label_only_so_many_are_compared_with():
    features = np.random.default_rng(2).normal(size=(90, 5))
    found = nearest_within(unit(features), 3, np.zeros(90, dtype=int), most=10)
    assert len(np.unique(found.index)) == 10
    assert (found.index != np.arange(90)[:, None]).all()
