"""A list of labels that can be true: CSV of `label` and, if it differs by place, `location` or `region`."""

from pathlib import Path

import polars as pl

from trapline.core.errors import InputError
from trapline.formats import csv_table

COLUMNS = ("label", "location", "region")


def read(path: Path) -> pl.DataFrame:
    """label, location, region; both null: everywhere.

    Raises:
        InputError: It is missing, not such a CSV, or names no label.
    """
    table = csv_table.read(path, "the list of allowed labels")
    table = table.rename({name: name.strip().lstrip("\ufeff").casefold() for name in table.columns})
    if "label" not in table.columns:
        raise InputError(
            f"the list of allowed labels {path} has the columns {', '.join(table.columns)}; it needs `label`, and "
            "`location` or `region` where that differs by place."
        )
    given = [pl.col(name) if name in table.columns else pl.lit(None, pl.String).alias(name) for name in COLUMNS]
    rows = table.select(given).with_columns(pl.all().str.strip_chars().replace("", None))
    rows = rows.filter(pl.col("label").is_not_null())
    if not rows.height:
        raise InputError(f"the list of allowed labels {path} names no label: nothing would be allowed.")
    return rows
