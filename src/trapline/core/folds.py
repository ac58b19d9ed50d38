"""Cross-validation: every group is test once, val once, and train otherwise."""

import polars as pl


def folds_of(splits: pl.DataFrame) -> list[int]:
    """The folds of a SPLITS table, in order; empty where there are none."""
    return splits["fold"].drop_nulls().unique().sort().to_list()


def rotate(splits: pl.DataFrame, fold: int) -> pl.DataFrame:
    """The SPLITS of one turn: `fold` is test, the next one (the first after the last) val, all others train.

    Turn 0 is what the split stage writes itself.
    """
    folds = folds_of(splits)
    following = folds[(folds.index(fold) + 1) % len(folds)]
    turn = (
        pl.when(pl.col("fold") == fold)
        .then(pl.lit("test"))
        .when(pl.col("fold") == following)
        .then(pl.lit("val"))
        .otherwise(pl.lit("train"))
    )
    return splits.with_columns(split=turn)


def held_out(splits: pl.DataFrame) -> pl.DataFrame:
    """SPLITS in which every group is test: each was scored by the classifier of the turn that held it out."""
    return splits.with_columns(split=pl.lit("test"))
