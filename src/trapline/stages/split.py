"""Examples -> splits: train, val and test by group, so that no place leaks."""

import numpy as np
import polars as pl

from trapline.core import schemas, splitting
from trapline.core.config import SplitConfig
from trapline.core.errors import InputError
from trapline.core.log import Log
from trapline.core.schemas import SPLIT_NAMES


def split(examples: pl.DataFrame, cfg: SplitConfig, *, log: Log) -> pl.DataFrame:
    """Assign every group to one split.

    Args:
        examples: EXAMPLES rows; `group_id` non-null. Groups that share a sequence are kept together.

    Returns:
        SPLITS rows (group_id, split, fold), one per group, sorted. With fewer groups than splits, val is given up
        first, then test, with a warning.

    Raises:
        InputError: No example, or a null `group_id`.

    Source: location-held-out evaluation, Beery et al. 2018 (Recognition in Terra Incognita).
    """
    if not examples.height:
        raise InputError("there are no examples to split. `trapline status` says what left them out.")
    if examples["group_id"].null_count():
        raise InputError(f"{examples['group_id'].null_count()} of {examples.height} examples have no group.")
    tied = _tied_groups(examples)
    labels = examples["labels"].explode().unique().sort().to_list()
    counts, units = _counts(examples.join(tied, on="group_id", how="left"), labels)
    fractions = (1 - cfg.val_frac - cfg.test_frac, cfg.val_frac, cfg.test_frac)
    wished = sum(fraction > 0 for fraction in fractions)
    if len(units) < wished:
        log.warn(
            f"{len(units)} group(s) cannot fill {wished} splits: "
            + ("everything is train" if len(units) == 1 else "there is no val")
            + ". Accuracy at places never seen cannot be measured until images of more cameras are added."
        )
    assignment = splitting.best_random(counts, fractions, cfg.draws, cfg.seed)
    _report(counts, assignment, fractions, labels, log)
    names = pl.DataFrame({"unit": units, "split": [SPLIT_NAMES[number] for number in assignment]})
    splits = tied.join(names, on="unit", how="left").select("group_id", "split", fold=pl.lit(None, pl.Int64))
    return splits.select(list(schemas.SPLITS.columns)).sort("group_id")


def _tied_groups(examples: pl.DataFrame) -> pl.DataFrame:
    """group_id -> unit: groups that share a sequence (a burst filed under two places) must stay together."""
    parent = {group: group for group in sorted(examples["group_id"].unique())}

    def root(group: str) -> str:
        while parent[group] != group:
            parent[group] = parent[parent[group]]
            group = parent[group]
        return group

    shared = examples.group_by("sequence_id").agg(pl.col("group_id").unique().sort()).drop_nulls("sequence_id")
    for groups in shared.filter(pl.col("group_id").list.len() > 1)["group_id"]:
        first, *others = sorted(root(group) for group in groups)
        for other in others:
            parent[other] = first
    return pl.DataFrame({"group_id": list(parent), "unit": [root(group) for group in parent]})


def _counts(examples: pl.DataFrame, labels: list[str]) -> tuple[np.ndarray, list[str]]:
    """(units, labels) crops, and the units' names in order."""
    long = examples.select("unit", "labels").explode("labels")
    units = long["unit"].unique().sort().to_list()
    rows = long.group_by("unit", "labels").len()
    counts = np.zeros((len(units), len(labels)))
    place = {name: n for n, name in enumerate(units)}, {name: n for n, name in enumerate(labels)}
    for unit, label, number in rows.iter_rows():
        counts[place[0][unit], place[1][label]] = number
    return counts, units


def _report(
    counts: np.ndarray, assignment: np.ndarray, fractions: tuple[float, float, float], labels: list[str], log: Log
) -> None:
    sizes = ", ".join(
        f"{name} {int((assignment == n).sum())} groups, {int(counts[assignment == n].sum())} crops"
        for n, name in enumerate(SPLIT_NAMES)
    )
    log.note(f"{sizes}; score {splitting.score(counts, assignment, fractions):.3f} (0 is perfect)")
    for number, name in enumerate(SPLIT_NAMES):
        if fractions[number] > 0:
            absent = [label for label, n in zip(labels, counts[assignment == number].sum(0), strict=True) if n == 0]
            if absent:
                log.warn(f"{len(absent)} labels have too few groups to be in {name}: {', '.join(absent)}.")
