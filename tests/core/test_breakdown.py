import numpy as np
import pytest

from trapline.core import breakdown
from trapline.core.scorecard import Named

TRUTH = np.array([0, 0, 1, 1, 2, 0])
GIVEN = np.array([0, 1, 1, 1, 0, 0])


def test_places_by_hand():
    named = Named(TRUTH, GIVEN, np.array([0, 0, 0, 1, 1, 1]), ["a", "b", "c"], "test")
    first, second = breakdown.places(named, named.group, 2, breakdown.ONE_LOCATION)
    found = {figure.name: figure for figure in first}
    assert found["accuracy"].value == pytest.approx(2 / 3)
    assert found["macro_recall"].value == pytest.approx((0.5 + 1) / 2)  # of the two labels there
    assert found["labels"].value == 2
    assert found["accuracy"].low is None
    assert found["accuracy"].reason == "one location: no interval over locations"
    assert {figure.name: figure.value for figure in second}["macro_recall"] == pytest.approx((1 + 0 + 1) / 3)


def test_parts_leave_out_what_is_not_known_and_what_has_no_crops():
    group = np.arange(6)
    named = Named(TRUTH, GIVEN, group, ["a", "b", "c"], "test")
    found = dict(breakdown.parts(named, np.array([2, 2, -1, 5, -1, 5]), [f"{n:02d}" for n in range(24)]))
    assert list(found) == ["02", "05"]
    assert {figure.name: (figure.value, figure.support) for figure in found["02"]}["accuracy"] == (0.5, 2)
