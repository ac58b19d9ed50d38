"""Splitting groups so that no place leaks: counts in, a split per group out. Pure arrays.

`counts[g, l]` is the number of crops of label l in group g; a split is an integer per group, 0 train, 1 val, 2 test
(or the number of a fold). `allowed[g, s]` says which group may be in which split: a group of a former test set only
there, and no other group there.
"""

from collections.abc import Sequence

import numpy as np

N_SPLITS = 3
TRAIN, VAL, TEST = range(N_SPLITS)
# Where a label's groups go first when there are too few for every split: it must be learnt before it can be tested.
FIRST_NEEDED = (TRAIN, TEST, VAL)
BATCH = 256
MENDED, FEW_GROUPS = 32, 60  # draws to mend from, where groups are this few; a mend of thousands takes seconds


def score(counts: np.ndarray, assignment: np.ndarray, fractions: Sequence[float]) -> np.ndarray:
    """The reference chain's score of one or many assignments; 0 is perfect.

    Sum over splits s and labels of 2 (crop share - t_s)^2 + (group share - t_s)^2, where a label's crop share in s is
    its crops in s over all its crops, and its group share its groups in s over all groups that have it.

    Args:
        counts: (groups, labels) crops.
        assignment: (..., groups) integers.
        fractions: Target share of each split.

    Returns:
        (...) scores.

    Source: `create_classification_dataset.py` of the reference chain (CameraTraps archive).
    """
    present = (counts > 0).astype(float)
    crops = counts / np.maximum(counts.sum(0), 1)
    groups = present / np.maximum(present.sum(0), 1)
    total = np.zeros(assignment.shape[:-1])
    used = counts.sum(0) > 0
    for number, target in enumerate(fractions):
        inside = (assignment == number).astype(float)
        total += (2 * (inside @ crops - target) ** 2 + (inside @ groups - target) ** 2)[..., used].sum(-1)
    return total


def missing(counts: np.ndarray, assignment: np.ndarray, needed: np.ndarray) -> np.ndarray:
    """How many (label, split) pairs that should be present are not: (...) integers.

    Args:
        needed: (splits, labels) booleans, from `needed_splits`.
    """
    present = (counts > 0).astype(float)
    short = np.zeros(assignment.shape[:-1], dtype=int)
    for number in range(len(needed)):
        inside = (assignment == number).astype(float)
        short += ((inside @ present == 0) & needed[number]).sum(-1)
    return short


def open_splits(n_groups: int, fractions: Sequence[float]) -> np.ndarray:
    """(groups, splits) booleans where every group may be in every split whose fraction is not 0."""
    return np.tile(np.asarray(fractions) > 0, (n_groups, 1))


def fixed_test(is_test: np.ndarray, fractions: Sequence[float]) -> np.ndarray:
    """(groups, splits) booleans where the groups of a former test set are in test, and no other group is."""
    allowed = open_splits(len(is_test), fractions)
    allowed[:, TEST] = is_test
    allowed[is_test, :TEST] = False
    return allowed


def needed_splits(counts: np.ndarray, fractions: Sequence[float], allowed: np.ndarray | None = None) -> np.ndarray:
    """Which label must be in which split: in all where it has enough groups, else in train first, then test.

    Groups that are fixed in a split (`allowed`) do not count: they cannot help another one.

    Returns:
        (splits, labels) booleans.
    """
    allowed = open_splits(len(counts), fractions) if allowed is None else allowed
    free = allowed.sum(1) > 1
    fixed = np.logical_not(np.any(allowed[free], axis=0)) if free.any() else np.zeros(N_SPLITS, dtype=bool)
    groups = (counts[free] > 0).sum(0) if fixed.any() else (counts > 0).sum(0)
    wanted = [number for number in FIRST_NEEDED if fractions[number] > 0 and not fixed[number]]
    needed = np.zeros((N_SPLITS, counts.shape[1]), dtype=bool)
    for place, number in enumerate(wanted):
        needed[number] = groups > place
    return needed


def needed_folds(counts: np.ndarray, n_folds: int) -> np.ndarray:
    """(folds, labels) booleans: a label with as many groups as there are folds must be in every one."""
    return np.tile((counts > 0).sum(0) >= n_folds, (n_folds, 1))


def best_random(
    counts: np.ndarray,
    fractions: Sequence[float],
    draws: int,
    seed: int,
    allowed: np.ndarray | None = None,
    needed: np.ndarray | None = None,
) -> np.ndarray:
    """The best of `draws` random assignments: fewest missing labels first, then the lowest score.

    Every draw gives each split its share of groups, rounded, and at least one group where its fraction is not 0. If
    the best draw still misses a label somewhere, single groups are moved and swapped until none is missed or no
    move helps.

    Args:
        allowed: (groups, splits) booleans; default: every group anywhere. Free groups are free in the same splits.
        needed: (splits, labels) booleans; default: `needed_splits`.

    Returns:
        (groups,) integers.
    """
    rng = np.random.default_rng(seed)
    allowed = open_splits(len(counts), fractions) if allowed is None else allowed
    needed = needed_splits(counts, fractions, allowed) if needed is None else needed
    fixed = allowed.argmax(1)
    free = np.flatnonzero(allowed.sum(1) > 1)
    if not len(free):
        return fixed
    shares = np.where(allowed[free[0]], fractions, 0)
    template = np.repeat(np.arange(len(shares)), _sizes(len(free), shares / shares.sum()))
    kept: list[tuple[float, float, np.ndarray]] = []
    for start in range(0, draws, BATCH):
        batch = np.tile(fixed, (min(BATCH, draws - start), 1))
        batch[:, free] = rng.permuted(np.tile(template, (len(batch), 1)), axis=1)
        short, values = missing(counts, batch, needed), score(counts, batch, fractions)
        order = np.lexsort((values, short))[:MENDED]
        kept += [(float(short[place]), float(values[place]), batch[place]) for place in order]
        kept = sorted(kept, key=lambda draw: draw[:2])[:MENDED]
    if kept[0][0] == 0:
        return kept[0][2]
    # Mending descends to the nearest optimum: where groups are few, one start can miss what another finds.
    starts = kept if len(counts) <= FEW_GROUPS else kept[:1]
    mended = [_mend(counts, start, fractions, needed, allowed) for _, _, start in starts]
    ranks = [(int(missing(counts, one, needed)), float(score(counts, one, fractions))) for one in mended]
    return mended[ranks.index(min(ranks))]


def smallest_first(counts: np.ndarray, fractions: Sequence[float], allowed: np.ndarray | None = None) -> np.ndarray:
    """Labels with the fewest crops first: their groups, largest first, each to the split that lacks most of the label.

    Groups are placed once. What is missing then is mended as in `best_random`. Nothing is left to chance.

    Returns:
        (groups,) integers.

    Source: the reference chain's method of that name (which ended in a KeyError).
    """
    allowed = open_splits(len(counts), fractions) if allowed is None else allowed
    targets = np.asarray(fractions, dtype=float)
    assignment = np.where(allowed.sum(1) > 1, -1, allowed.argmax(1))
    for label in np.argsort(counts.sum(0), kind="stable"):
        _fill(assignment, counts[:, label], targets, allowed)
    _fill(assignment, np.ones(len(counts)), targets, allowed)  # groups without any crop
    return _mend(counts, assignment, fractions, needed_splits(counts, fractions, allowed), allowed)


def _fill(assignment: np.ndarray, crops: np.ndarray, targets: np.ndarray, allowed: np.ndarray) -> None:
    """Place the groups that have crops and no split yet, in place."""
    total = max(crops.sum(), 1)
    deficit = targets - [crops[assignment == number].sum() / total for number in range(len(targets))]
    for group in np.argsort(-crops, kind="stable"):
        if crops[group] > 0 and assignment[group] < 0:
            number = int(np.where(allowed[group], deficit, -np.inf).argmax())
            assignment[group] = number
            deficit[number] -= crops[group] / total


def _sizes(n_groups: int, fractions: Sequence[float]) -> np.ndarray:
    """Groups per split: the shares, rounded; no wished-for split is empty while train keeps at least one.

    Folds (any number of splits but three) get the same number of groups each, but for one.
    """
    if len(fractions) != N_SPLITS:
        return np.bincount(np.arange(n_groups) % len(fractions), minlength=len(fractions))
    sizes = np.array([round(n_groups * fraction) for fraction in fractions])
    for number in (TEST, VAL):
        if fractions[number] > 0 and sizes[number] == 0:
            sizes[number] = 1
    for number in (VAL, TEST):
        excess = sizes[VAL] + sizes[TEST] - (n_groups - 1)
        if excess > 0:
            sizes[number] -= min(excess, sizes[number])
    sizes[TRAIN] = n_groups - sizes[VAL] - sizes[TEST]
    return sizes


def _mend(
    counts: np.ndarray, start: np.ndarray, fractions: Sequence[float], needed: np.ndarray, allowed: np.ndarray
) -> np.ndarray:
    """Steepest descent by (missing labels, score) over moving a group that has a missed label, or swapping it.

    Only such a group can bring the label where it is missed. A step is scored from what it changes in the splits'
    totals, (splits, labels), so that thousands of groups take neither minutes nor memory.
    """
    current = start.copy()
    rank = (float(missing(counts, current, needed)), float(score(counts, current, fractions)))
    while rank[0] > 0:
        absent = np.stack([(counts[current == n] > 0).sum(0) == 0 for n in range(len(needed))]) & needed
        best = None
        for group in np.flatnonzero((counts[:, absent.any(0)] > 0).any(1)).tolist():
            home = current[group]
            may_leave = (current == home).sum() > 1
            moves = [n for n in np.flatnonzero(allowed[group]).tolist() if may_leave and n != home]
            swaps = np.flatnonzero((current != home) & allowed[group][current] & allowed[:, home])
            short, values = _after(counts, current, fractions, needed, group, moves, swaps)
            place = np.lexsort((values, short))[0] if len(short) else None
            if place is not None and (float(short[place]), float(values[place])) < rank:
                rank, best = (float(short[place]), float(values[place])), (group, place, moves, swaps)
        if best is None:
            return current
        group, place, moves, swaps = best
        if place < len(moves):
            current[group] = moves[place]
        else:
            other = swaps[place - len(moves)]
            current[[group, other]] = current[[other, group]]
    return current


def _after(
    counts: np.ndarray,
    current: np.ndarray,
    fractions: Sequence[float],
    needed: np.ndarray,
    group: int,
    moves: Sequence[int],
    swaps: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Missing labels and score after each move of `group` to a split of `moves`, then after each swap with a group."""
    present = (counts > 0).astype(float)
    both = np.stack([counts, present])  # (2, groups, labels)
    totals = np.stack([both[:, current == n].sum(1) for n in range(len(needed))], axis=1)  # (2, splits, labels)
    home = current[group]
    targets = np.concatenate([np.asarray(moves, dtype=int), current[swaps]])
    leaves = np.repeat(both[:, group, None], len(targets), axis=1)  # (2, steps, labels)
    leaves[:, len(moves) :] -= both[:, swaps]
    after = np.repeat(totals[:, None], len(targets), axis=1)  # (2, steps, splits, labels)
    after[:, :, home] -= leaves
    after[:, np.arange(len(targets)), targets] += leaves
    short = ((after[1] < 0.5) & needed).sum((1, 2))
    shares = after / np.maximum(both.sum(1), 1)[:, None, None]
    distance = (shares - np.asarray(fractions)[:, None]) ** 2
    values = (2 * distance[0] + distance[1])[..., counts.sum(0) > 0].sum((1, 2))
    return short, values
