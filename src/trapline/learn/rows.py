"""Crops as rows: what of a file decides its outputs, and arrays as a column."""

from pathlib import Path

import numpy as np
import polars as pl

from trapline.io import places
from trapline.io.places import Place


def with_file_state(rows: pl.DataFrame, crops_dir: Path | Place) -> pl.DataFrame:
    """`rows` plus what tells one content of each crop from another (Place.state), null where there is none.

    The ledger fingerprints whole rows: a crop that was made again is computed again.
    """
    return rows.hstack(places.of(crops_dir).state(rows["crop_id"].to_list()))


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
