"""Findings as ISSUES rows."""

from collections.abc import Iterable, Sequence

import numpy as np
import polars as pl

from trapline.core.schemas import ISSUES


def issues(
    crop_ids: Iterable[str], kind: str, evidence: Sequence[str], scores: Sequence[float] | np.ndarray
) -> pl.DataFrame:
    """ISSUES rows of one kind, worst first. Of several rows of one crop the worst is kept."""
    found = pl.DataFrame(
        {
            "crop_id": list(crop_ids),
            "kind": [kind] * len(evidence),
            "evidence": list(evidence),
            "score": np.asarray(scores, dtype=np.float32).clip(0, 1),
        },
        schema=ISSUES.columns,
    )
    return found.sort(["score", "crop_id"], descending=[True, False]).unique(
        ["crop_id", "kind"], keep="first", maintain_order=True
    )


def together(found: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Findings of several kinds as one checked table: kinds in the order given, worst first; a crop once of a kind."""
    every = pl.concat([ISSUES.empty(), *found]).with_row_index("row")
    worst = every.with_columns(order=pl.col("row").min().over("kind")).sort(
        ["order", "score", "crop_id"], descending=[False, True, False], maintain_order=True
    )
    return ISSUES.check(worst.unique(["crop_id", "kind"], keep="first", maintain_order=True).drop("order", "row"))


def by_crop(found: pl.DataFrame) -> pl.DataFrame:
    """What was found, a row per crop: crop_id, issues (kinds, a list), evidence (a line per kind), issue_score (the
    highest); the worst first in each.

    Args:
        found: ISSUES rows.
    """
    worst = found.sort("score", "kind", descending=[True, False], nulls_last=True)
    return worst.group_by("crop_id", maintain_order=True).agg(
        issues="kind",
        evidence=pl.concat_str("kind", pl.lit(": "), pl.col("evidence").fill_null("")).str.join("\n"),
        issue_score=pl.col("score").max(),
    )
