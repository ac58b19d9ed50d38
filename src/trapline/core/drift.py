"""Whether new images are like those the classifier was tried on: how sure it is of them, and what it names.

A location where the classifier is less sure, on average, than at any held-out location of val is unlike them. The
labels named there are compared with those of training by total variation: 0 the same shares, 1 nothing in common;
locations differ in that by nature, so it is told and no alarm.
"""

from collections.abc import Sequence

import polars as pl

MIN_BOXES = 10  # of a location, for an alarm; and of a val location, to be compared with


def usual_confidence(held_out: pl.DataFrame) -> tuple[float, float, int] | None:
    """Mean confidence over val locations, the lowest of a location, and how many locations; None where there are none.

    Args:
        held_out: group_id, confidence of val crops.
    """
    found = held_out.drop_nulls().group_by("group_id").agg(n=pl.len(), mean=pl.col("confidence").mean())
    found = found.filter(pl.col("n") >= MIN_BOXES)["mean"]
    if not len(found):
        return None
    return float(found.mean()), float(found.min()), len(found)  # pyright: ignore[reportArgumentType]


def compare(
    boxes: pl.DataFrame, usual: tuple[float, float, int] | None, trained: Sequence[str]
) -> tuple[pl.DataFrame, list[str]]:
    """Each location against what the classifier was trained and tried on.

    Args:
        boxes: location_id, likeliest (a label), likeliest_confidence.
        usual: As `usual_confidence` gives it.
        trained: The label of every training crop.

    Returns:
        location_id, boxes, confidence, lowest_usual, label_mix, unlike (null where it cannot be told), the least sure
        first; and a sentence for every location that is unlike.
    """
    lowest = usual[1] if usual else None
    share = pl.Series("likeliest", trained, dtype=pl.String).value_counts(normalize=True, name="share")
    places = boxes.group_by("location_id").agg(
        boxes=pl.len().cast(pl.Int64), confidence=pl.col("likeliest_confidence").mean()
    )
    named = boxes.group_by("location_id", "likeliest").agg(n=pl.len())
    named = named.with_columns(here=pl.col("n") / pl.col("n").sum().over("location_id"))
    shared = named.join(share, on="likeliest", how="left").with_columns(pl.col("share").fill_null(0.0))
    mix = shared.group_by("location_id").agg(label_mix=1 - pl.min_horizontal("here", "share").sum())
    enough = pl.col("boxes") >= MIN_BOXES
    found = places.join(mix, on="location_id", how="left", nulls_equal=True).with_columns(
        lowest_usual=pl.lit(lowest, pl.Float64),
        label_mix=pl.col("label_mix") if trained else pl.lit(None, pl.Float64),
    )
    found = found.with_columns(unlike=pl.when(enough).then(pl.col("confidence") < pl.col("lowest_usual")))
    found = found.sort("confidence", "location_id", nulls_last=True)
    columns = ["location_id", "boxes", "confidence", "lowest_usual", "label_mix", "unlike"]
    words = [
        f"{row['location_id'] or 'without a location'}: the classifier is less sure of its {row['boxes']:,} boxes "
        f"({row['confidence']:.0%} on average) than at any of {usual[2]} held-out val locations (lowest "
        f"{usual[1]:.0%}, mean {usual[0]:.0%}): unlike what it was tried on. Look at some before believing its answers."
        for row in found.filter(pl.col("unlike").fill_null(False)).iter_rows(named=True)
        if usual is not None
    ]
    return found.select(columns), words
