"""Crops as rows: what of a file decides its outputs, and arrays as a column."""

import os
from pathlib import Path

import numpy as np
import polars as pl


def with_file_state(rows: pl.DataFrame, crops_dir: Path) -> pl.DataFrame:
    """`rows` plus size and time of change of each crop's file (`crops_dir / crop_id`), null where there is none.

    The ledger fingerprints whole rows: a crop that was made again is computed again.
    """
    sizes: list[int | None] = []
    times: list[int | None] = []
    for crop_id in rows["crop_id"]:
        try:
            status = os.stat(crops_dir / crop_id)
            sizes.append(status.st_size)
            times.append(status.st_mtime_ns)
        except OSError:
            sizes.append(None)
            times.append(None)
    return rows.with_columns(
        pl.Series("file_bytes", sizes, dtype=pl.Int64), pl.Series("file_mtime_ns", times, dtype=pl.Int64)
    )


def as_arrays(values: np.ndarray, width: int) -> pl.Series:
    """float [n, width] -> a column of Float32 arrays; rows of NaN (or a [n, 0] array) become nulls."""
    kind = pl.Array(pl.Float32, width)
    if not values.shape[1]:
        return pl.Series([None] * len(values), dtype=kind)
    column = pl.Series(values.astype(np.float32), dtype=kind)
    unread = pl.Series(np.isnan(values[:, 0]))  # a row is NaN whole or not at all
    return pl.select(pl.when(~unread).then(column)).to_series()


def with_values(rows: pl.DataFrame, column: str, values: np.ndarray) -> pl.DataFrame:
    """`rows` with other arrays in a column, float [n, width], where it is not null."""
    found = np.full((rows.height, values.shape[1]), np.nan, np.float32)
    found[rows[column].is_not_null().to_numpy()] = values
    return rows.with_columns(as_arrays(found, values.shape[1]).alias(column))
