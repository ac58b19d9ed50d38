"""Source label -> label, or out: the rules of a label map or of a label specification, as one table."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

SCHEMA = {"dataset": pl.String, "source_label": pl.String, "label": pl.String, "why": pl.String}
DROPPED = "dropped by the label map"
UNSELECTED = "not selected by the label specification"


@dataclass(frozen=True)
class LabelRules:
    """What becomes of every source label.

    Args:
        table: dataset (null: in all of them), source_label, label (null: left out), why.
        closed: Whether a source label that the table does not list is left out; else it keeps its name.
        max_count: Label -> most crops.
        prioritize: Label -> datasets in tiers: a cap takes crops of the first tier first, of unnamed datasets last.
    """

    table: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=SCHEMA))
    closed: bool = False
    max_count: Mapping[str, int] = field(default_factory=dict)
    prioritize: Mapping[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Add `label` (null: left out) and `why` to a frame of dataset and source_label, its order kept."""
        anywhere = self.table.filter(pl.col("dataset").is_null()).select(
            "source_label", any_label="label", any_why="why"
        )
        here = self.table.filter(pl.col("dataset").is_not_null())
        joined = frame.join(
            here.with_columns(is_here=True), on=["dataset", "source_label"], how="left", maintain_order="left"
        ).join(anywhere.with_columns(is_any=True), on="source_label", how="left", maintain_order="left")
        unlisted = (None, UNSELECTED) if self.closed else (pl.col("source_label"), "as it is")
        return joined.with_columns(
            label=pl.when("is_here").then("label").when("is_any").then("any_label").otherwise(unlisted[0]),
            why=pl.when("is_here").then("why").when("is_any").then("any_why").otherwise(pl.lit(unlisted[1])),
        ).drop("is_here", "is_any", "any_label", "any_why")


def from_map(names: Mapping[str, str | None], why: str = "renamed by the label map") -> LabelRules:
    """Rules of a label map: source label -> label, or None for out."""
    rows = [(None, source, label, DROPPED if label is None else why) for source, label in names.items()]
    return LabelRules(pl.DataFrame(rows, schema=SCHEMA, orient="row"))
