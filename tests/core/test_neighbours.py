import numpy as np
from scipy.spatial.distance import cdist

from trapline.core.neighbours import nearest, unit


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
