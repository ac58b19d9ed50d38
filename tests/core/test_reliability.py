import numpy as np
import pytest

from trapline.core.reliability import reliability


def test_bins_and_calibration_error_by_hand():
    confidence = np.array([0.95, 0.95, 0.95, 0.95, 0.5, 0.5], np.float32)
    right = np.array([True, True, True, False, True, False])
    found = reliability(confidence, right, np.arange(6))
    assert found.bin.tolist() == [7, 14]
    assert found.crops.tolist() == [2, 4]
    np.testing.assert_allclose(found.accuracy, [0.5, 0.75])
    assert found.ece == pytest.approx(4 / 6 * 0.20, abs=1e-6)
    assert np.isnan(found.low).all()  # six locations


def test_the_floor_is_what_perfect_confidences_show():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(300):
        confidence = rng.uniform(0.3, 1, 200)
        found.append(reliability(confidence, rng.random(200) < confidence, np.arange(200)))
    eces, floors = [one.ece for one in found], [one.floor for one in found]
    assert np.mean(floors) == pytest.approx(np.mean(eces), rel=0.05)
    assert np.mean(floors) > 0.05  # so a small test set cannot show less


def test_confidence_of_one_falls_into_the_last_bin_and_nothing_is_undefined():
    found = reliability(np.ones(3, np.float32), np.ones(3, bool), np.zeros(3, int))
    assert found.bin.tolist() == [14]
    assert found.ece == 0
    nothing = reliability(np.zeros(0, np.float32), np.zeros(0, bool), np.zeros(0, int))
    assert np.isnan([nothing.ece, nothing.floor]).all()
    assert len(nothing.bin) == 0
