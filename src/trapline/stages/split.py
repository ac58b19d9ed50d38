"""Examples -> splits: train, val and test by group, so that no place leaks."""

import numpy as np
import polars as pl

from trapline.core import schemas, split_bound, splitting
from trapline.core.config import SplitConfig
from trapline.core.errors import InputError
from trapline.core.log import Log
from trapline.core.schemas import SPLIT_NAMES
from trapline.core.split_search import optimise
from trapline.core.splitting import TEST, VAL

FIRST_DRAWS = 512  # the search starts from the best of so many random draws
FEW_GROUPS, MANY_STARTS = 200, 8  # with fewer groups the draws are divided among so many starts
FAR = 0.1  # a split whose share of crops is further from its fraction than this is worth a warning

Fractions = tuple[float, ...]


def split(
    examples: pl.DataFrame,
    cfg: SplitConfig,
    *,
    former_test: pl.DataFrame | None = None,
    former_splits: pl.DataFrame | None = None,
    twins: pl.DataFrame | None = None,
    log: Log,
) -> pl.DataFrame:
    """Assign every group to one split.

    Args:
        examples: EXAMPLES rows; `group_id` non-null. Groups that share a sequence are kept together.
        former_test: dataset, location: a former test set. A group with any of these locations is test; no other is.
        former_splits: dataset, location, split: a former split to be kept. A group with any former test location is
            test, else one with a val location val, else one with a train location train.
        twins: LEAKS rows (`stages/leaks.py`): with `cfg.fix`, their groups are kept together too.

    Returns:
        SPLITS rows (group_id, split, fold), one per group, sorted. `fold` is null without `cfg.folds`. With fewer
        groups than splits, val is given up first, then test, with a warning.

    Raises:
        InputError: No example, a null `group_id`, fractions that leave nothing for train, or a former test set of
            which nothing is there or after which nothing is left.

    Source: location-held-out evaluation, Beery et al. 2018 (Recognition in Terra Incognita).
    """
    if not examples.height:
        raise InputError("there are no examples to split. `trapline status` says what left them out.")
    if examples["group_id"].null_count():
        raise InputError(f"{examples['group_id'].null_count()} of {examples.height} examples have no group.")
    if cfg.val_frac + cfg.test_frac >= 1:
        raise InputError(
            f"val_frac {cfg.val_frac} and test_frac {cfg.test_frac} leave nothing for train. Lower them, for example "
            "to 0.2 each."
        )
    tied = _tied_groups(examples, twins if cfg.fix else None, log)
    labels = examples["labels"].explode().unique().sort().to_list()
    placed = examples.join(tied, on="group_id", how="left")
    counts, units = _counts(placed, labels)
    if cfg.folds:
        fold = _folds(counts, cfg, log)
        assignment = np.select([fold == 0, fold == 1], [TEST, VAL], splitting.TRAIN)
        _report(counts, assignment, units, (1 - 2 / cfg.folds, 1 / cfg.folds, 1 / cfg.folds), labels, log)
    else:
        fold = None
        fractions = (1 - cfg.val_frac - cfg.test_frac, cfg.val_frac, cfg.test_frac)
        allowed = splitting.open_splits(len(units), fractions)
        if former_test is not None:
            fractions, allowed = _match(placed, units, former_test, fractions, log)
        elif former_splits is not None:
            allowed = _keep(placed, units, former_splits, allowed, log)
        _warn_of_few(len(units), fractions, log)
        needed = splitting.needed_splits(counts, fractions, allowed)
        assignment = _assign(counts, fractions, needed, allowed, cfg)
        _report(counts, assignment, units, fractions, labels, log)
        _note_score(counts, assignment, fractions, needed, allowed, cfg.prove, log)
    names = pl.DataFrame(
        {
            "unit": units,
            "split": [SPLIT_NAMES[number] for number in assignment],
            "fold": pl.Series(fold, dtype=pl.Int64)
            if fold is not None
            else pl.Series([None] * len(units), dtype=pl.Int64),
        }
    )
    splits = tied.join(names, on="unit", how="left")
    return splits.select(list(schemas.SPLITS.columns)).sort("group_id")


def _assign(
    counts: np.ndarray, fractions: Fractions, needed: np.ndarray, allowed: np.ndarray, cfg: SplitConfig
) -> np.ndarray:
    """(groups,) splits by the configured method."""
    if cfg.method == "smallest_first":
        return splitting.smallest_first(counts, fractions, allowed)
    if cfg.method == "random":
        return splitting.best_random(counts, fractions, cfg.draws, cfg.seed, allowed)
    return optimise(counts, fractions, needed, allowed, _starts(counts, fractions, needed, allowed, cfg), cfg.seed)


def _starts(
    counts: np.ndarray, fractions: Fractions, needed: np.ndarray, allowed: np.ndarray, cfg: SplitConfig
) -> list[np.ndarray]:
    """Where the search starts: the best of some random draws, several times where there are few groups."""
    number = MANY_STARTS if len(counts) < FEW_GROUPS else 1
    seeds = np.random.SeedSequence(abs(cfg.seed)).generate_state(number).tolist()
    draws = FIRST_DRAWS // number
    return [splitting.best_random(counts, fractions, draws, seed, allowed, needed) for seed in seeds]


def _folds(counts: np.ndarray, cfg: SplitConfig, log: Log) -> np.ndarray:
    """(groups,) folds of equal target share, by the same score and search."""
    if len(counts) < cfg.folds:
        raise InputError(
            f"{len(counts)} groups cannot fill {cfg.folds} folds. Use --folds {len(counts)} at most, or 0."
        )
    fractions = (1 / cfg.folds,) * cfg.folds
    needed = splitting.needed_folds(counts, cfg.folds)
    allowed = splitting.open_splits(len(counts), fractions)
    starts = _starts(counts, fractions, needed, allowed, cfg)
    fold = optimise(counts, fractions, needed, allowed, starts, cfg.seed)
    log.note(f"{cfg.folds} folds; fold 0 is test and fold 1 val (val_frac and test_frac are not used)")
    _note_score(counts, fold, fractions, needed, allowed, 0, log)
    return fold


def _note_score(
    counts: np.ndarray,
    assignment: np.ndarray,
    fractions: Fractions,
    needed: np.ndarray,
    allowed: np.ndarray,
    nodes: int,
    log: Log,
) -> None:
    """Say the score, a proven lower bound of any split's, and the gap between them."""
    score = float(splitting.score(counts, assignment, fractions))
    if splitting.missing(counts, assignment, needed):  # the bound holds for splits that have every needed label
        needed = np.zeros_like(needed)
    bound, how = split_bound.lower_bound(counts, fractions, needed, allowed, nodes)
    log.note(f"score {score:.4f} (0 is perfect); no split can be below {bound:.4f} ({how}), gap {score - bound:.4f}")


def _match(
    placed: pl.DataFrame, units: list[str], former: pl.DataFrame, fractions: Fractions, log: Log
) -> tuple[Fractions, np.ndarray]:
    """Fix a former test set: what of it is here, and where every unit may go.

    The fractions of train and val keep their ratio; test's becomes the share of groups it has.
    """
    place = placed.select("unit", "group_id", "dataset", location=pl.coalesce("location_id", "group_id")).unique()
    hit = place.join(former.unique(), on=["dataset", "location"], how="semi")
    known = former.unique().join(place, on=["dataset", "location"], how="semi").height
    total = former.unique().height
    if not known:
        first = former.row(0) if former.height else "none listed"
        raise InputError(
            f"none of the {total} test locations of the former split is among the examples (first: {first}). Check "
            "that datasets and locations are named as in splits.json, or leave out --match-test."
        )
    is_test = np.isin(np.array(units, dtype=object), hit["unit"].unique().to_list())
    if is_test.all():
        raise InputError(
            f"the former test set covers all {len(units)} groups: nothing is left to learn from. Add images of other "
            "places, or leave out --match-test."
        )
    if known < total:
        log.warn(f"{total - known} of {total} test locations of the former split are not among the examples.")
    others = place.filter(pl.col("unit").is_in(hit["unit"].to_list())).join(
        former, on=["dataset", "location"], how="anti"
    )
    if others.height:
        log.warn(
            f"{others.height} more locations are test, because they share a group with a former test location "
            f"(first: {others['location'].sort()[0]})."
        )
    test = float(is_test.mean())
    rest = (1 - test) / (fractions[0] + fractions[1])
    fractions = (fractions[0] * rest, fractions[1] * rest, test)
    return fractions, splitting.fixed_test(is_test, fractions)


def _keep(placed: pl.DataFrame, units: list[str], former: pl.DataFrame, allowed: np.ndarray, log: Log) -> np.ndarray:
    """Where every unit may go: where a former split had it, else anywhere."""
    place = placed.select("unit", "dataset", location=pl.coalesce("location_id", "group_id")).unique()
    held = place.join(former.unique(), on=["dataset", "location"])
    if not held.height:
        first = former.row(0) if former.height else "none listed"
        raise InputError(
            f"none of the {former.height} locations of the former split is among the examples (first: {first}). Check "
            "that datasets and locations are named as in splits.json, or leave out --match-splits."
        )
    gone = former.unique().join(place, on=["dataset", "location"], how="anti").height
    if gone:
        log.warn(f"{gone} of {former.height} locations of the former split are not among the examples.")
    rank = {name: n for n, name in enumerate(("test", "val", "train"))}  # what was ever tested on is not learnt from
    first = held.sort(pl.col("split").replace_strict(rank)).unique("unit", keep="first", maintain_order=True)
    several = held.group_by("unit").agg(pl.col("split").n_unique()).filter(pl.col("split") > 1)
    if several.height:
        log.warn(
            f"{several.height} groups have locations in several of the former splits (first: "
            f"{several['unit'].sort()[0]}); each is test where any was test, else val."
        )
    splits = dict(first.select("unit", "split").iter_rows())
    for number, unit in enumerate(units):
        if unit in splits:
            allowed[number] = np.arange(len(SPLIT_NAMES)) == SPLIT_NAMES.index(splits[unit])
    log.note(f"{len(splits)} of {len(units)} groups stay where the former split had them")
    return allowed


def _warn_of_few(n_units: int, fractions: Fractions, log: Log) -> None:
    wished = sum(fraction > 0 for fraction in fractions)
    if n_units < wished:
        log.warn(
            f"{n_units} group(s) cannot fill {wished} splits: "
            + ("everything is train" if n_units == 1 else "there is no val")
            + ". Accuracy at places never seen cannot be measured until images of more cameras are added."
        )


def _tied_groups(examples: pl.DataFrame, twins: pl.DataFrame | None, log: Log) -> pl.DataFrame:
    """group_id -> unit: groups that share a sequence (a burst filed under two places) must stay together, and so must
    those of near-identical frames where `twins` names them."""
    parent = {group: group for group in sorted(examples["group_id"].unique())}

    def root(group: str) -> str:
        while parent[group] != group:
            parent[group] = parent[parent[group]]
            group = parent[group]
        return group

    def join(groups: list[str]) -> None:
        first, *others = sorted({root(group) for group in groups})
        for other in others:
            parent[other] = first

    shared = examples.group_by("sequence_id").agg(pl.col("group_id").unique().sort()).drop_nulls("sequence_id")
    for groups in shared.filter(pl.col("group_id").list.len() > 1)["group_id"].sort():
        join(list(groups))
    if twins is not None and twins.height:
        before = len({root(group) for group in parent})
        for pair in twins.select("group_id", "other_group_id").unique().sort(pl.all()).rows():
            join([group for group in pair if group in parent])
        after = len({root(group) for group in parent})
        log.note(f"{before} groups became {after}: those with near-identical frames are kept together (--fix)")
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
    counts: np.ndarray, assignment: np.ndarray, units: list[str], fractions: Fractions, labels: list[str], log: Log
) -> None:
    """Say what every split holds, which labels it lacks, and where its fraction could not be met, and why."""
    crops = counts.sum(1)
    inside = [assignment == number for number in range(len(SPLIT_NAMES))]
    log.note(
        ", ".join(
            f"{name} {int(mask.sum())} groups, {int(crops[mask].sum())} crops"
            for name, mask in zip(SPLIT_NAMES, inside, strict=True)
        )
    )
    for name, mask, fraction in zip(SPLIT_NAMES, inside, fractions, strict=True):
        if fraction > 0:
            absent = [label for label, n in zip(labels, counts[mask].sum(0), strict=True) if n == 0]
            if absent:
                log.warn(f"{len(absent)} labels have too few groups to be in {name}: {', '.join(absent)}.")
    far = [
        f"{name} {crops[mask].sum() / crops.sum():.0%} instead of {fraction:.0%}"
        for name, mask, fraction in zip(SPLIT_NAMES, inside, fractions, strict=True)
        if abs(crops[mask].sum() / crops.sum() - fraction) > FAR
    ]
    if far and len(units) > len(SPLIT_NAMES):
        largest = int(crops.argmax())
        log.warn(
            f"the wished-for shares of crops cannot be met: {', '.join(far)}. Groups are not divided, and the largest, "
            f"{units[largest]}, holds {crops[largest] / crops.sum():.0%}. Caps even that out: "
            "trapline dataset --max-per-label-location N."
        )
