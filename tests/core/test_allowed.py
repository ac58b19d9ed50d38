import numpy as np
import polars as pl
import pytest

from trapline.core.allowed import restrict, settle
from trapline.core.errors import InputError

LABELS = ["coyote", "fox", "lynx"]


def listed(*rows):
    return pl.DataFrame(rows, schema={"label": pl.String, "location": pl.String, "region": pl.String}, orient="row")


def masks(allowed, *places):
    row, lists = allowed.of(pl.Series(places, dtype=pl.String))
    return [[label for label, there in zip(LABELS, lists[n], strict=True) if there] for n in row]


def test_everywhere_at_a_place_and_in_a_region():
    rows = listed(("fox", None, None), ("lynx", "ridge", None), ("coyote", None, "mainland"))
    allowed = settle(rows, LABELS, {"beach": "mainland", "ridge": "mainland", "cove": "island"})
    assert masks(allowed, "ridge", "beach", "cove", None) == [LABELS, ["coyote", "fox"], ["fox"], ["fox"]]


def test_a_place_of_which_nothing_is_said_is_not_restricted():
    allowed = settle(listed(("lynx", "ridge", None)), LABELS, {})
    assert masks(allowed, "ridge", "cove", None) == [["lynx"], LABELS, LABELS]


def test_unknown_names_are_listed_with_the_nearest():
    rows = listed(("Fox", None, None), ("linx", None, None), ("emu", None, None), ("fox", None, "mainlnd"))
    with pytest.raises(InputError) as error:
        settle(rows, LABELS, {"beach": "mainland"})
    text = str(error.value)
    assert "4 problem(s)" in text
    assert "'Fox' is no label of the classifier; did you mean fox?" in text
    assert "'linx' is no label of the classifier; did you mean lynx?" in text
    assert "'emu' is no label of the classifier\n" in text
    assert "region 'mainlnd': did you mean mainland?" in text


def test_what_is_taken_away_and_what_is_left():
    scores = np.array([[0.2, 0.6, 0.2], [0, 1, 0]], np.float32)
    kept, removed = restrict(scores, np.array([[True, False, True], [True, False, True]]))
    np.testing.assert_allclose(kept, [[0.5, 0, 0.5], [0.5, 0, 0.5]], atol=1e-6)
    np.testing.assert_allclose(removed, [0.6, 1], atol=1e-6)
