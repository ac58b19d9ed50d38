from datetime import date, datetime, timedelta

import polars as pl

from trapline.core import events
from trapline.core.schemas import COUNTS

DAY = datetime(2024, 5, 1, 12)
SCHEMA = {"location_id": pl.String, "label": pl.String, "level": pl.String, "start": pl.Datetime("us"),
          "end": pl.Datetime("us"), "images": pl.Int64, "boxes": pl.Int64, "most_at_once": pl.Int64}  # fmt: skip


def records(*rows):
    """(location, label, minutes after noon of its first frame, of its last)"""
    at = [
        (place, label, "label", *(DAY + timedelta(minutes=m) if m is not None else None for m in (start, end)), 2, 3, 2)
        for place, label, start, end in rows
    ]
    return pl.DataFrame(at, schema=SCHEMA, orient="row")


def test_an_event_ends_half_an_hour_after_the_last_frame():
    rows = records(("a", "fox", 0, 20), ("a", "fox", 49, 50), ("a", "fox", 80, 81), ("a", "deer", 10, 10),
                   ("b", "fox", 5, 5), ("a", "fox", 1, 45), ("a", "fox", None, None), ("a", "fox", None, None),
                   (None, "fox", 0, 0), (None, "fox", 1, 1))  # fmt: skip
    found = events.number_events(rows, 30)["event"].to_list()
    assert found[0] == found[1] == found[5]  # 29 minutes after a frame; and one that lies within
    assert len({found[0], *found[2:5], *found[6:]}) == 8  # 30 minutes; another label or place; no time; no place
    assert events.number_events(rows, 31)["event"].n_unique() == 7
    assert events.number_events(rows, 0)["event"].n_unique() == 9


def test_counts_per_place_day_and_label():
    rows = records(("a", "fox", 0, 1), ("a", "fox", 40, 41), ("a", "fox", 11 * 60 + 50, 12 * 60 + 10),
                   ("a", "fox", 12 * 60 + 20, 12 * 60 + 21), ("a", "fox", None, None))  # fmt: skip
    found = events.count(events.number_events(rows, 30))
    assert list(found.columns) == list(COUNTS.columns)
    # the third event goes on past midnight and counts on the day on which it began
    told = found.select("date", "events", "sequences", "images", "boxes", "most_at_once").rows()
    assert told == [(date(2024, 5, 1), 3, 4, 8, 12, 2), (None, 1, 1, 2, 3, 2)]


def test_a_history_of_ones_zeros_and_days_without_a_camera():
    frames = pl.DataFrame(
        [("a", DAY), ("a", DAY + timedelta(days=8)), ("b", DAY + timedelta(days=3)), ("c", DAY + timedelta(days=20)),
         ("b", None), (None, DAY)],
        schema={"location_id": pl.String, "captured_at": pl.Datetime("us")}, orient="row",
    )  # fmt: skip
    periods = events.running(frames, None)
    starts = events.occasions(periods, 7)
    assert starts == [date(2024, 5, 1) + timedelta(days=7 * n) for n in range(3)]
    ran = events.effort(periods, starts, 7)
    assert events.wide_effort(ran).rows() == [("a", 7, 2, 0), ("b", 1, 0, 0), ("c", 0, 0, 1)]
    rows = records(
        ("a", "fox", 0, 0), ("a", "fox", 8 * 1440, 8 * 1440), ("a", "fox", 60, 60), ("c", "deer", 20 * 1440, None)
    )
    found = events.history(rows, ran, 7)
    assert found.columns == ["label", "level", "location_id", "2024-05-01", "2024-05-08", "2024-05-15"]
    assert found.rows() == [
        ("deer", "label", "a", 0, 0, None), ("deer", "label", "b", 0, None, None),
        ("deer", "label", "c", None, None, 1), ("fox", "label", "a", 1, 1, None),
        ("fox", "label", "b", 0, None, None), ("fox", "label", "c", None, None, 0),
    ]  # fmt: skip


def test_stated_periods_count_instead_of_images():
    frames = pl.DataFrame(
        {"location_id": ["a"], "captured_at": [DAY]}, schema_overrides={"captured_at": pl.Datetime("us")}
    )
    stated = pl.DataFrame({"location_id": ["a", "a"], "first": [date(2024, 5, 1), date(2024, 5, 6)],
                           "last": [date(2024, 5, 2), date(2024, 5, 6)]})  # fmt: skip
    periods = events.running(frames, stated)
    assert events.wide_effort(events.effort(periods, events.occasions(periods, 2), 2)).rows() == [("a", 2, 0, 1)]


def test_nothing_at_all():
    empty = records()
    assert events.count(events.number_events(empty, 30)).height == 0
    periods = events.running(empty.select("location_id", captured_at="start"), None)
    ran = events.effort(periods, events.occasions(periods, 7), 7)
    assert events.history(empty, ran, 7).height == events.wide_effort(ran).height == 0
