from datetime import datetime, timedelta

import polars as pl

from trapline.core.issues import clocks


def test_never_set_future_and_reset_clocks_but_no_long_pause():
    june = [datetime(2024, 6, 1 + k, 12) for k in range(20)]
    rows = [("a", time) for time in june]
    rows += [("a", datetime(2017, 1, 1, 0, 4)), ("a", datetime(2017, 1, 2, 9))]  # the battery was changed
    rows += [("b", datetime(1970, 1, 1)), ("b", datetime(2031, 5, 1)), ("b", None)]
    rows += [("c", datetime(2021, 1, 1, 3)), *[("c", datetime(2023, 7, 1 + k)) for k in range(2)]]  # a third: real
    places, times = zip(*rows, strict=True)
    ids = [f"c{k:02}" for k in range(len(rows))]
    crops = pl.DataFrame({"crop_id": ids, "captured_at": times, "place": places})
    found = clocks.impossible(crops, now=datetime(2026, 1, 1))
    assert dict(found.select("crop_id", "evidence").rows()) == {
        "c20": "the clock seems to have been reset: 2017-01-01, while most frames here are of about 2024-06-10",
        "c21": "the clock seems to have been reset: 2017-01-02, while most frames here are of about 2024-06-10",
        "c22": "the clock was never set: 1970",
        "c23": "in the future: 2031-05-01",
    }


def test_a_year_that_begins_on_the_first_of_january_is_no_reset_clock():
    days = [datetime(2024, 1, 1, 7) + timedelta(days=k) for k in range(366)]
    crops = pl.DataFrame({"crop_id": [f"c{k}" for k in range(366)], "captured_at": days, "place": "a"})
    assert clocks.impossible(crops, now=datetime(2026, 1, 1)).height == 0
