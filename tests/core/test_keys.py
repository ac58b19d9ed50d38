"""Whether keys repeat, against counting in Python, and where hashes say so wrongly."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trapline.core.keys import all_differ, in_order

ROWS = st.lists(st.tuples(st.sampled_from(["", "a", "aa", "é", None]), st.sampled_from([0.0, -0.0, 1.5, None])))


@given(rows=ROWS)
def test_is_what_counting_says(rows):
    frame = pl.DataFrame(rows, schema={"text": pl.String, "number": pl.Float64}, orient="row")
    assert all_differ(frame) == (len(set(rows)) == len(rows))  # in Python, too, -0.0 equals 0.0
    texts = [text for text, _ in rows]
    assert all_differ(frame["text"]) == (len(set(texts)) == len(texts))


@pytest.mark.parametrize("values", [pl.Series(["a", "b"]), pl.DataFrame({"key": ["a", "b"]})])
def test_texts_decide_where_hashes_collide(values, monkeypatch):
    same = pl.Series([7, 7], dtype=pl.UInt64)
    monkeypatch.setattr(pl.Series, "hash", lambda _: same)
    monkeypatch.setattr(pl.DataFrame, "hash_rows", lambda _: same)
    assert all_differ(values)


@given(rows=ROWS.map(lambda rows: [row for row in rows if None not in row]))
def test_in_order_is_sorting(rows):
    frame = pl.DataFrame(rows, schema={"text": pl.String, "number": pl.Float64}, orient="row")
    assert in_order(frame, "text")["text"].to_list() == sorted(text for text, _ in rows)
    assert in_order(frame, "text", "number").rows() == sorted(rows)
