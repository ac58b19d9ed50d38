"""Times that cannot be: of 1970, of the future, or from before the deployment's clock was set."""

from datetime import datetime, timedelta

import polars as pl

from trapline.core.issues.rows import issues

KIND = "impossible_time"
FIRST_YEAR = 1990  # before digital camera traps; 1970 and 1980 are clocks that were never set
LEAP = timedelta(days=180)  # between most frames of a deployment and the few that follow a lost battery
GAP = timedelta(days=30)  # between those few and all others: a long deployment's first days are followed by more
FEW = 0.2  # of a deployment's frames
RESET_DAY = (1, 1)  # month and day that a camera's clock begins at


def impossible(crops: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """ISSUES rows of the crops whose time cannot be.

    A reset clock shows as few frames of a deployment, far from its others, that begin on a first of January.

    Args:
        crops: crop_id, captured_at (null: not known), place (a deployment, else a camera, else a location).
        now: By the clock of this machine; a day of grace covers time zones.
    """
    timed = crops.drop_nulls("captured_at")
    middle = pl.col("captured_at").median().over("place")
    far = (pl.col("captured_at") - middle).abs() > pl.duration(seconds=int(LEAP.total_seconds()))
    start = (pl.col("captured_at").dt.month() == RESET_DAY[0]) & (pl.col("captured_at").dt.day() == RESET_DAY[1])
    year = pl.col("captured_at").dt.year()
    timed = timed.with_columns(middle=middle, stray=far, of_year=year)  # windows do not nest: one by one
    others = pl.col("captured_at").filter(~pl.col("stray"))
    strays = pl.col("captured_at").filter("stray")
    timed = timed.with_columns(
        in_year=(pl.col("stray") & start).any().over("place", "of_year"),
        share=pl.col("stray").mean().over("place"),
        first_other=others.min().over("place"),
        last_other=others.max().over("place"),
        first=strays.min().over("place", "of_year"),
        last=strays.max().over("place", "of_year"),
    )
    lone = (pl.col("first_other") - pl.col("last") > GAP) | (pl.col("first") - pl.col("last_other") > GAP)
    timed = timed.with_columns(
        why=pl.when(year < FIRST_YEAR)
        .then(pl.format("the clock was never set: {}", "of_year"))
        .when(pl.col("captured_at") > now + timedelta(days=1))
        .then(pl.format("in the future: {}", pl.col("captured_at").dt.to_string("%Y-%m-%d")))
        .when(pl.col("stray") & pl.col("in_year") & (pl.col("share") <= FEW) & lone.fill_null(True))
        .then(
            pl.format(
                "the clock seems to have been reset: {}, while most frames here are of about {}",
                pl.col("captured_at").dt.to_string("%Y-%m-%d"),
                pl.col("middle").dt.to_string("%Y-%m-%d"),
            )
        ),
        score=pl.when((year < FIRST_YEAR) | (pl.col("captured_at") > now + timedelta(days=1))).then(1.0).otherwise(0.7),
    ).drop_nulls("why")
    return issues(timed["crop_id"], KIND, timed["why"].to_list(), timed["score"].to_numpy())
