"""Labels that one place or one sequence makes up, and labels that the splits share out badly.

These are findings about a label; its row names one crop of it, so that a person can see what is meant.
"""

from collections.abc import Mapping

import polars as pl

from trapline.core.issues.rows import issues

PLACE, SEQUENCE, SPLIT = "label_of_one_place", "label_of_one_sequence", "extreme_split"
MOST_OF_PLACE, MOST_OF_SEQUENCE = 0.5, 0.25  # of a label's crops
LEAST_OF_LABEL = 5  # crops, below which shares say nothing
EXTREME = 3.0  # times as much, or as little, as was wished


def dominated(crops: pl.DataFrame, by: str, kind: str, most: float) -> pl.DataFrame:
    """ISSUES rows: a crop of every label of which more than `most` is of one `by` (place or sequence).

    Args:
        crops: crop_id, label and `by` (null: of none).
    """
    counts = crops.group_by("label").agg(n=pl.len())
    found = crops.drop_nulls(by).group_by("label", by).agg(own=pl.len(), crop_id=pl.col("crop_id").min())
    found = found.join(counts, on="label").with_columns(share=pl.col("own") / pl.col("n"))
    found = found.filter((pl.col("n") >= LEAST_OF_LABEL) & (pl.col("share") > most))
    evidence = found.select(
        pl.format("{} of {} crops of {} are of one {}: {}", "own", "n", "label", pl.lit(by), pl.col(by).cast(pl.String))
    ).to_series()
    return issues(found["crop_id"], kind, evidence.to_list(), found["share"].to_numpy())


def split_table(crops: pl.DataFrame, wished: Mapping[str, float]) -> pl.DataFrame:
    """How the splits share out each label.

    Args:
        crops: label, split.
        wished: Split -> the fraction it was to have; splits of none are left out.

    Returns:
        label, split, crops, share, wished, extreme; a row per label and split, by label.
    """
    splits = pl.DataFrame(
        {"split": [name for name in wished if wished[name] > 0], "wished": [v for v in wished.values() if v > 0]},
        schema={"split": pl.String, "wished": pl.Float64},
    )
    labels = crops.group_by("label").agg(n=pl.len()).sort("label")
    counts = crops.group_by("label", "split").agg(crops=pl.len())
    table = labels.join(splits, how="cross").join(counts, on=["label", "split"], how="left", maintain_order="left")
    table = table.with_columns(pl.col("crops").fill_null(0))
    table = table.with_columns(share=pl.col("crops") / pl.col("n"))
    off = (pl.col("share") > EXTREME * pl.col("wished")) | (pl.col("share") * EXTREME < pl.col("wished"))
    extreme = off & (pl.col("n") >= LEAST_OF_LABEL)
    return table.select("label", "split", "crops", "share", "wished", extreme=extreme)


def extreme_splits(crops: pl.DataFrame, wished: Mapping[str, float]) -> pl.DataFrame:
    """ISSUES rows: a crop of every label that a split has far more or less of than was wished.

    Args:
        crops: crop_id, label, split.
    """
    table = split_table(crops, wished).filter("extreme")
    first = crops.group_by("label").agg(crop_id=pl.col("crop_id").min())
    table = table.join(first, on="label").with_columns(off=(pl.col("share") - pl.col("wished")).abs())
    evidence = [
        f"{row['share']:.0%} of {row['label']} is in {row['split']} ({row['crops']} crops), wished {row['wished']:.0%}"
        for row in table.iter_rows(named=True)
    ]
    return issues(table["crop_id"], SPLIT, evidence, 0.5 + table["off"].to_numpy() / 2)
