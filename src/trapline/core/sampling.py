"""Choices by hash: reproducible, and stable when other rows come or go."""

import hashlib
from collections.abc import Mapping, Sequence

import polars as pl


def chance(*parts: object) -> float:
    """A number in [0, 1) fixed by `parts`."""
    digest = hashlib.blake2b(" ".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64


def chances(names: pl.Series, *parts: object) -> pl.Series:
    """`chance(*parts, name)` of every name; names are looked at once each."""
    begun = "".join(f"{part} " for part in parts).encode()
    blake2b, number = hashlib.blake2b, int.from_bytes
    texts = names.to_list()
    found = {name: number(blake2b(begun + name.encode(), digest_size=8).digest()) / 2**64 for name in set(texts)}
    return pl.Series(names.name, [found[name] for name in texts], dtype=pl.Float64)


def within_cap(
    frame: pl.DataFrame,
    by: Sequence[str],
    limits: int | Mapping[str, int],
    seed: int,
    tier: pl.Series | None = None,
) -> pl.Series:
    """Which rows a cap keeps: of every combination of `by` at most its limit, spread over sequences.

    Sequences take turns: the first crop of each comes before the second of any. Turns and order within a turn follow
    a hash of seed and crop, so that crops added elsewhere change nothing, and crops added here little.

    Args:
        frame: crop_id, sequence_id and the columns of `by`.
        limits: Most rows; or by value of the first column of `by`, without a limit for values not named. 0: no limit.
        tier: A number per row; lower ones are taken first.

    Returns:
        Booleans in the frame's order.
    """
    by = list(by)
    limit = pl.lit(limits) if isinstance(limits, int) else pl.col(by[0]).replace_strict(limits, default=0)
    rows = frame.select("crop_id", "sequence_id", *by).with_columns(
        number=pl.int_range(pl.len()),
        tier=tier if tier is not None else pl.lit(0),
        limit=limit,
        size=pl.len().over(by),
    )
    tight = rows.filter((pl.col("limit") > 0) & (pl.col("size") > pl.col("limit")))
    order = chances(tight["crop_id"], seed, "crop").alias("chance")
    over = (
        tight.with_columns(order)
        .sort("chance", "crop_id")
        .with_columns(turn=pl.int_range(pl.len()).over([*by, "tier", "sequence_id"]))
        .sort("tier", "turn", "chance", "crop_id")
        .with_columns(place=pl.int_range(pl.len()).over(by))
        .filter(pl.col("place") >= pl.col("limit"))
    )
    return ~rows["number"].is_in(over["number"].implode())
