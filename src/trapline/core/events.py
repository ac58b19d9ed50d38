"""Independent events, counts of them, and detection histories: what studies of abundance and occupancy begin with.

A new event of a label begins at a location where at least `independent_min` minutes have passed since the last frame
with that label there (30 by default): one animal that lingers is one event. Source: O'Brien, Kinnaird & Wibisono 2003,
"Crouching tigers, hidden prey", with the interval counted from the last record, not from the first of an event.
"""

from collections.abc import Sequence
from datetime import date, timedelta

import polars as pl

from trapline.core.schemas import COUNTS

MOST_OCCASIONS = 10_000  # of a history: a clock that was set to 1970 would make more


def number_events(records: pl.DataFrame, independent_min: float) -> pl.DataFrame:
    """`records` with `event`, a number per independent event.

    Args:
        records: location_id, label, level, start, end: one row per sequence and label. One without a time or a place is
            an event of its own.
    """
    keys = ("location_id", "label", "level")
    ordered = records.with_row_index("row").sort(*keys, "start", "end", nulls_last=True)
    moved = pl.any_horizontal(pl.col(key).ne_missing(pl.col(key).shift()) for key in keys)
    last = pl.col("end").cum_max().over(keys).shift()
    gap_min = (pl.col("start") - last).dt.total_microseconds() / 60e6
    alone = pl.col("start").is_null() | pl.col("location_id").is_null() | gap_min.is_null()
    new = alone | moved.fill_null(True) | (gap_min >= independent_min)
    return ordered.with_columns(event=new.cum_sum().cast(pl.Int64)).sort("row").drop("row")


def count(records: pl.DataFrame) -> pl.DataFrame:
    """COUNTS rows: events, sequences, images and boxes per location, day and label. An event counts on its first day.

    Args:
        records: location_id, label, level, start, event, images, boxes, most_at_once.
    """
    day = pl.col("start").min().over("event").dt.date()
    found = (
        records.with_columns(date=day)
        .group_by("location_id", "date", "label", "level")
        .agg(
            events=pl.col("event").n_unique().cast(pl.Int64),
            sequences=pl.len().cast(pl.Int64),
            images=pl.col("images").sum(),
            boxes=pl.col("boxes").sum(),
            most_at_once=pl.col("most_at_once").max(),
        )
    )
    return COUNTS.check(found.sort("location_id", "date", "label", "level", nulls_last=True))


def running(frames: pl.DataFrame, deployments: pl.DataFrame | None) -> pl.DataFrame:
    """When the camera of every location ran: location_id, first, last (dates), one row per period.

    Args:
        frames: location_id, captured_at of every image that is known. A location without a deployment ran from its
            first image's day to its last's, as far as can be known.
        deployments: location_id, first, last.
    """
    known = frames.filter(pl.col("location_id").is_not_null() & pl.col("captured_at").is_not_null())
    seen = known.group_by("location_id").agg(
        first=pl.col("captured_at").min().dt.date(), last=pl.col("captured_at").max().dt.date()
    )
    if deployments is None:
        return seen.sort("location_id")
    rest = seen.join(deployments, on="location_id", how="anti")
    return pl.concat([deployments.select(seen.columns), rest]).sort("location_id", "first")


def occasions(periods: pl.DataFrame, days: int) -> list[date]:
    """First days of occasions of `days` days, from the first day that any camera ran to the last."""
    if not periods.height:
        return []
    first, last = periods["first"].to_list(), periods["last"].to_list()
    total = (max(last) - min(first)).days // days + 1
    return [min(first) + timedelta(days=n * days) for n in range(min(total, MOST_OCCASIONS))]


def effort(periods: pl.DataFrame, starts: Sequence[date], days: int) -> pl.DataFrame:
    """location_id, occasion (a date), days: how many days of each occasion the location's camera ran."""
    long = periods.join(pl.DataFrame({"occasion": starts}, schema={"occasion": pl.Date}), how="cross")
    end = pl.col("occasion") + timedelta(days=days - 1)
    overlap = pl.min_horizontal("last", end) - pl.max_horizontal("first", "occasion")
    ran = (overlap.dt.total_days() + 1).clip(lower_bound=0)
    summed = long.with_columns(days=ran).group_by("location_id", "occasion").agg(pl.col("days").sum())
    return summed.with_columns(pl.col("days").clip(upper_bound=days)).sort("location_id", "occasion")


def history(records: pl.DataFrame, ran: pl.DataFrame, days: int) -> pl.DataFrame:
    """label, level, location_id, and a column per occasion: 1 seen, 0 not seen, null where no camera ran.

    Every label that was seen anywhere has a row for every location, as occupancy models want it.

    Args:
        records: location_id, label, level, start.
        ran: As `effort` gives it.
    """
    starts = ran["occasion"].unique().sort()
    seen = records.filter(pl.col("location_id").is_not_null() & pl.col("start").is_not_null()).select(
        "location_id", "label", "level", day=pl.col("start").dt.date()
    )
    names = seen.select("label", "level").unique().sort("level", "label")
    if not len(starts) or not names.height:
        return pl.DataFrame(schema={"label": pl.String, "level": pl.String, "location_id": pl.String})
    which = ((pl.col("day") - starts[0]).dt.total_days() // days).cast(pl.Int64)
    hits = seen.select("label", "level", "location_id", number=which, seen=pl.lit(1, pl.Int64)).unique()
    numbered = ran.join(pl.DataFrame({"occasion": starts}).with_row_index("number"), on="occasion")
    grid = names.join(numbered.with_columns(pl.col("number").cast(pl.Int64)), how="cross")
    found = grid.join(hits, on=("label", "level", "location_id", "number"), how="left")
    # An animal that was seen outside the stated periods was seen.
    value = pl.when(pl.col("seen") == 1).then(1).when(pl.col("days") > 0).then(0)
    wide = found.with_columns(value=value.cast(pl.Int64), name=pl.col("occasion").cast(pl.String)).sort("number")
    wide = wide.pivot("name", index=["label", "level", "location_id"], values="value")
    return wide.sort("level", "label", "location_id")


def wide_effort(ran: pl.DataFrame) -> pl.DataFrame:
    """location_id, and the days that its camera ran in every occasion, a column each."""
    if not ran.height:
        return pl.DataFrame(schema={"location_id": pl.String})
    named = ran.with_columns(name=pl.col("occasion").cast(pl.String)).sort("occasion")
    return named.pivot("name", index="location_id", values="days").sort("location_id")
