import numpy as np
import pytest

from trapline.core.curve import doubled

SIZES = np.array([[5, 10, 20, 40], [4, 9, 21, 40]])


def test_a_power_law_is_extrapolated_exactly():
    recalls = 1 - 0.9 * SIZES**-0.4
    found = doubled(SIZES, recalls)
    expected = (1 - 0.9 * 80**-0.4) - (1 - 0.9 * 40**-0.4)
    assert found.value == pytest.approx(expected)
    assert (found.low, found.high) == (pytest.approx(expected), pytest.approx(expected))


def test_divisions_that_differ_widen_the_interval_and_a_flat_curve_brings_nothing():
    recalls = np.array([[0.5, 0.6, 0.7, 0.8], [0.6, 0.6, 0.6, 0.6]])
    found = doubled(SIZES, recalls)
    assert found.low < 0 < found.value < found.high
    flat = doubled(SIZES, np.full((2, 4), 0.7))
    assert flat.value == pytest.approx(0, abs=1e-12)
    assert flat.words() == "+0.0 points (+0.0 to +0.0)"


def test_places_with_one_burst_each_tell_nothing_of_more():
    assert doubled(np.full((3, 4), 30), np.full((3, 4), 0.7)).value == 0
