"""What a person's look at a box is worth: the order of the review list.

The gain of a look is the expected error that it takes away, times what an error of that label costs:

- The error is what the calibrated probability leaves to other labels. A box that its burst contradicts, and one that is
  unlike anything in training, are believed half as much.
- An error counts the more the rarer its label is among the sequences at hand: one wrong record of three distorts what a
  study concludes, one of a thousand does not. It weighs by the fourth root of how many times rarer it is than the
  commonest label.
- Frames of a burst are near copies: the second look at one is worth half the first, the third a quarter.
"""

import polars as pl

from trapline.core.rollup import LABEL

DOUBT = 0.5
RARITY = 0.25
AGAIN = 0.5
RARE = 5
"""A label with fewer sequences than this is looked at however sure it is: first records of a species are checked."""


def rank(boxes: pl.DataFrame) -> pl.DataFrame:
    """The boxes that are worth a look, with rank, reason and gain; the most worth first.

    Args:
        boxes: sequence (a number), answer, level, likeliest, first_p, second, second_p (probabilities),
            burst_likeliest, removed, unlike (null: not measured), needs_person; other columns stay.
    """
    of_label = boxes.group_by("burst_likeliest").agg(sequences=pl.col("sequence").n_unique().cast(pl.Int64))
    most = of_label["sequences"].max() or 1
    told = boxes.join(of_label, left_on="likeliest", right_on="burst_likeliest", how="left", maintain_order="left")
    told = told.with_columns(
        pl.col("sequences").fill_null(1),
        contradicted=pl.col("likeliest") != pl.col("burst_likeliest"),
        odd=pl.col("unlike").fill_null(False),
    )
    rare = pl.col("sequences") < RARE
    wanted = pl.col("needs_person") | (pl.col("level") != LABEL) | pl.col("contradicted") | rare
    doubt = [pl.when(name).then(1 - DOUBT).otherwise(1.0) for name in ("contradicted", "odd")]
    believed = pl.col("first_p").cast(pl.Float64) * (1 - pl.col("removed").cast(pl.Float64)) * doubt[0] * doubt[1]
    worth = (1 - believed) * (most / pl.col("sequences")).pow(RARITY)
    place = pl.col("worth").rank("ordinal", descending=True).over("sequence").cast(pl.Int64) - 1
    found = told.filter(wanted).with_columns(worth=worth)
    found = found.with_columns(gain=pl.col("worth") * pl.lit(AGAIN).pow(place), reason=_reason(rare))
    found = found.sort("gain", "file", "detection", descending=[True, False, False])
    return (
        found.drop("worth", "contradicted", "odd").with_row_index("rank", 1).with_columns(pl.col("rank").cast(pl.Int64))
    )


def _reason(rare: pl.Expr) -> pl.Expr:
    """Why, in words; the first that there is leads."""

    def share(name: str) -> pl.Expr:
        return pl.format("{}%", (pl.col(name) * 100).round().cast(pl.Int64))

    two = pl.format("{} {} or {} {}", "likeliest", share("first_p"), "second", share("second_p"))
    parts = [
        pl.when(pl.col("level") == "").then(pl.format("unsure: {}", two)),
        pl.when(~pl.col("level").is_in(["", LABEL])).then(pl.format("only {} is sure: {}", "answer", two)),
        pl.when("contradicted").then(pl.format("{}, but its burst says {}", "likeliest", "burst_likeliest")),
        pl.when("odd").then(pl.lit("unlike anything in training")),
        pl.when(pl.col("removed") > 0.01).then(
            pl.format("{} was for labels that are not allowed here", share("removed"))
        ),
        pl.when(rare).then(pl.format("rare: {} sequence(s) of {}", "sequences", "likeliest")),
    ]
    return pl.concat_str(parts, separator="; ", ignore_nulls=True)
