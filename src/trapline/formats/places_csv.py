"""What a person knows of images and places that predictions do not: CSV tables beside them."""

from pathlib import Path

import polars as pl

from trapline.core.errors import InputError
from trapline.core.places import clock
from trapline.formats import csv_table, image_csv

IMAGES = ("path", "location", "sequence", "datetime")
# Our column -> what others call it, Camtrap DP and camtrapR among them; the first one there counts.
DEPLOYMENT_NAMES = {
    "location_id": ("location", "location_id", "locationid", "locationname", "station", "site"),
    "first": ("start", "first", "deploymentstart", "start_date", "setup_date"),
    "last": ("end", "last", "deploymentend", "end_date", "retrieval_date"),
}


def read_images(path: Path) -> pl.DataFrame:
    """file, location_id, sequence_id, captured_at of every image listed; those columns that are not there are null.

    Raises:
        InputError: It is not CSV, has no column of paths and one of location, sequence and datetime, lists an image
            twice with different facts, or holds times that cannot be read.
    """
    table = csv_table.read(path)
    names = image_csv.columns(table.columns)
    if "path" not in names or not {"location", "sequence", "datetime"} & set(names):
        raise InputError(
            f"{path} has the columns {', '.join(table.columns[:12])}; it needs `path` and at least one of `location`, "
            "`datetime` and `sequence`."
        )
    there = [pl.col(names[name]).str.strip_chars().replace("", None).alias(name) if name in names
             else pl.lit(None, pl.String).alias(name) for name in IMAGES]  # fmt: skip
    rows = table.select(there).filter(pl.col("path").is_not_null()).unique(maintain_order=True)
    rows = rows.with_columns(pl.col("path").str.replace_all("\\", "/", literal=True).str.strip_prefix("./"))
    twice = rows.filter(pl.col("path").is_duplicated())
    if twice.height:
        raise InputError(
            f"{path} says different things of {twice['path'].n_unique()} images (first: {twice['path'][0]})."
        )
    times = clock(rows["datetime"])
    unread = rows.filter(times.is_null() & rows["datetime"].is_not_null())
    if unread.height:
        raise InputError(
            f"{path}: {unread.height} of {rows.height} times cannot be read (first: {unread['datetime'][0]!r}, of "
            f"{unread['path'][0]}). Write them as 2024-05-31 21:04:00."
        )
    return rows.select(file="path", location_id="location", sequence_id="sequence", captured_at=times)


def read_deployments(path: Path) -> pl.DataFrame:
    """location_id, first, last: the days a camera ran at a location; several periods of one location are rows each.

    Raises:
        InputError: It is not such a CSV, or has days that cannot be read, or that end before they begin; lists all.
    """
    table = csv_table.read(path)
    plain = {name.strip().casefold().replace(" ", "_"): name for name in reversed(table.columns)}
    found = {
        ours: plain[match]
        for ours, names in DEPLOYMENT_NAMES.items()
        if (match := next((name for name in names if name in plain), None)) is not None
    }
    if missing := [ours for ours in DEPLOYMENT_NAMES if ours not in found]:
        wanted = {"location_id": "location", "first": "start", "last": "end"}
        raise InputError(
            f"{path} has the columns {', '.join(table.columns[:12])}; it needs `location`, `start` and `end` (there is "
            f"no {' and no '.join(wanted[name] for name in missing)})."
        )
    rows = table.select(
        pl.col(theirs).str.strip_chars().replace("", None).alias(ours) for ours, theirs in found.items()
    ).with_row_index("line", offset=2)
    days = rows.with_columns(_days(rows["first"]), _days(rows["last"]))
    bad = days.filter(pl.any_horizontal(pl.col("location_id", "first", "last").is_null()))
    problems = [f"line {line}: a location, or a day that can be read, is missing" for line in bad["line"]]
    backwards = days.filter(pl.col("last") < pl.col("first"))
    problems += [f"line {line}: it ends before it begins" for line in backwards["line"]]
    if problems:
        raise InputError(f"{path} has {len(problems)} line(s) that cannot be used:", problems)
    return days.drop("line")


def read_regions(path: Path) -> dict[str, str]:
    """Location -> region, of a CSV of `location` and `region`.

    Raises:
        InputError: It is not such a CSV.
    """
    table = csv_table.read(path)
    table = table.rename({name: name.strip().casefold() for name in table.columns})
    if not {"location", "region"} <= set(table.columns):
        raise InputError(f"{path} has the columns {', '.join(table.columns[:12])}; it needs `location` and `region`.")
    rows = table.select(pl.col("location", "region").str.strip_chars().replace("", None)).drop_nulls()
    return dict(rows.iter_rows())


def _days(texts: pl.Series) -> pl.Series:
    """Days of times, or of days alone."""
    times = clock(texts).dt.date()
    return times.fill_null(texts.str.to_date("%Y-%m-%d", strict=False)).alias(texts.name)
