"""Scores and labels of the same crops, side by side: what evaluation begins with."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from trapline.core import schemas
from trapline.core.errors import TraplineError
from trapline.core.metrics import Floats

SEEN = "seen"
SPLITS = (*schemas.SPLIT_NAMES, SEEN)


@dataclass(frozen=True)
class LeftOut:
    """Crops that no figure counts: `crops` of them, completing "crops ...", e.g. "without a prediction"."""

    reason: str
    detail: str | None
    crops: int
    first: str


def join(
    predictions: pl.DataFrame,
    examples: pl.DataFrame,
    splits: pl.DataFrame,
    labels: Sequence[str],
    *,
    several: bool = False,
) -> tuple[pl.DataFrame, Floats, list[LeftOut]]:
    """Put labels, places and scores of every example together.

    Args:
        predictions: PREDICTIONS rows; scores in the order of `labels`.
        examples, splits: EXAMPLES and SPLITS rows.
        labels: The model's, L of them.
        several: An example may have any number of labels; else one.

    Returns:
        One row per example: crop_id, group_id, labels, label (the first of them), location, camera, hour, light,
        sequence, split (`seen` for held-back crops of train), row (of its scores), and left_out: why it cannot be
        scored, or null. Then the scores (rows, L), and the examples that are left out, by reason.

    Raises:
        TraplineError: The predictions hold another number of scores.
    """
    width = getattr(predictions.schema["scores"], "size", len(labels))
    if predictions.height and width != len(labels):
        if predictions["scores"].null_count() < predictions.height:
            raise TraplineError(
                f"the predictions hold {width} scores per crop, but the run's params.json names {len(labels)} labels: "
                "they are of another run. Make them again with `trapline predict`."
            )
        predictions = predictions.with_columns(scores=pl.lit(None, pl.Array(pl.Float32, len(labels))))
    rows = predictions.select("crop_id", "failure", unread=pl.col("scores").is_null() | pl.col("failure").is_not_null())
    readable = predictions["scores"].drop_nulls() if predictions["scores"].null_count() else predictions["scores"]
    matrix = readable.to_numpy() if len(readable) else np.zeros((0, len(labels)), np.float32)
    row = (predictions["scores"].is_not_null().cast(pl.Int64).cum_sum() - 1).clip(lower_bound=0)
    finite = pl.Series(_finite(matrix), dtype=pl.Boolean)
    numbers = finite.gather(row) if len(finite) else pl.repeat(False, rows.height, dtype=pl.Boolean, eager=True)
    several_datasets = examples["dataset"].n_unique() > 1

    def named(*columns: str) -> pl.Expr:
        """Unique among datasets."""
        name = pl.coalesce(*columns)
        return pl.concat_str("dataset", name, separator="/") if several_datasets else name

    frame = (
        examples.join(rows.with_columns(row=row, numbers=numbers), on="crop_id", how="left")
        .join(splits.select("group_id", "split"), on="group_id", how="left")
        .select(
            "crop_id",
            "group_id",
            "labels",
            "failure",
            "unread",
            "numbers",
            "row",
            label=pl.col("labels").list.first(),
            unknown=pl.col("labels").list.set_difference(pl.lit(list(labels), pl.List(pl.String))).list.first(),
            location=named("location_id", "group_id"),
            camera=named("camera_id", "location_id", "group_id"),
            hour=pl.col("captured_at").dt.hour().cast(pl.Int64),
            light=pl.when("infrared").then(pl.lit("infrared")).when(~pl.col("infrared")).then(pl.lit("day")),
            sequence=named("sequence_id"),
            split=pl.when((pl.col("split") == "train") & pl.col("heldback")).then(pl.lit(SEEN)).otherwise("split"),
        )
        .with_columns(
            left_out=pl.when(pl.col("split").is_null())
            .then(pl.lit("of a group without a split"))
            .when(pl.lit(not several) & (pl.col("labels").list.len() == 0))
            .then(pl.lit("without a label"))
            .when(pl.lit(not several) & (pl.col("labels").list.len() > 1))
            .then(pl.lit("with several labels"))
            .when(pl.col("unknown").is_not_null())
            .then(pl.lit("of a label that the model does not know"))
            .when(pl.col("unread").is_null())
            .then(pl.lit("without a prediction"))
            .when("unread")
            .then(pl.lit("that could not be read"))
            .when(~pl.col("numbers"))
            .then(pl.lit("with scores that are not numbers"))
        )
    )
    lost = frame.filter(pl.col("left_out").is_not_null()).with_columns(
        detail=pl.when(pl.col("left_out") == "that could not be read")
        .then("failure")
        .when(pl.col("left_out").str.contains("does not know"))
        .then("unknown")
    )
    groups = lost.group_by("left_out", "detail").agg(crops=pl.len(), first=pl.col("crop_id").min())
    groups = groups.sort("crops", "left_out", "detail", descending=[True, False, False])
    return frame.drop("unknown", "unread", "numbers", "failure"), matrix, [LeftOut(*found) for found in groups.rows()]


def _finite(matrix: Floats) -> np.ndarray:
    """(n,) whether all scores of a row are numbers."""
    sums = matrix.sum(1) if len(matrix) else np.zeros(0, np.float32)  # one that is not a number spoils the sum
    return np.isfinite(sums)
