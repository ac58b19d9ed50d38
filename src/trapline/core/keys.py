"""Keys of long tables: whether one comes twice, and their order, told quickly for millions of long texts."""

import polars as pl


def all_differ(values: pl.Series | pl.DataFrame) -> bool:
    """Whether no value (no row of a frame) comes twice; null is a value.

    Ids here are texts of fifty characters and more. Different hashes prove different texts and are counted several
    times faster; where two of a million are equal, which happens once in ten million times, the texts decide.
    """
    hashes = values.hash() if isinstance(values, pl.Series) else values.hash_rows()
    return hashes.n_unique() == len(values) or values.n_unique() == len(values)


def in_order(frame: pl.DataFrame, *key: str) -> pl.DataFrame:
    """The frame sorted by `key`; as it is where that is one column, and sorted, which is sooner seen."""
    return frame if len(key) == 1 and frame[key[0]].is_sorted() else frame.sort(key)
