"""How low the score of any split can be: a certified lower bound, so that "optimal" is a number and not a boast.

Three bounds, all proven; the largest counts.
- Label by label: a label's groups can only be shared out in whole numbers, so its group term is at least that of the
  best whole numbers; a label of few groups is solved exactly by trying every assignment.
- Linear programme (HiGHS): all labels at once, groups divisible, every square replaced by lines below it: for a
  label's groups the chords between whole numbers (a whole number never lies below them), for its crops tangents.
  Where no group is fixed its optimum is the first bound: x = t satisfies it. Where some are, it says what they cost.
- Branch and bound (HiGHS) on the same programme with whole groups: dear, and nearly tight for tens of cameras.

The linear programme's value is not taken from the solver: its dual prices are put into the Lagrangian, whose minimum
over the box of all variables is a bound for whatever prices. Branch and bound's is the solver's own,
less its tolerance.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

ENUMERATED = 20_000  # assignments of one label's groups that are tried at most
LP_ENTRIES = 12_000  # nonzero counts times splits beyond which the linear programme takes longer than the search
PROOF_ENTRIES = 1_500  # the same for branch and bound
TOLERANCE = 1e-6  # HiGHS' own, of feasibility and optimality
COARSE, FINE = (0.05, 0.3), (0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.3, 0.6)  # where a crop share's square has tangents
CHORDS = (-2, -1, 0, 1, 2)  # whole numbers around the target, from each of which a chord goes to the next


def lower_bound(
    counts: np.ndarray, fractions: Sequence[float], needed: np.ndarray, allowed: np.ndarray, nodes: int = 0
) -> tuple[float, str]:
    """No assignment within `allowed` that has every label where it is `needed` scores lower than this.

    Args:
        counts: (groups, labels) crops.
        fractions: Target share of each split.
        needed: (splits, labels) booleans.
        allowed: (groups, splits) booleans: which group may be in which split.
        nodes: Nodes of branch and bound; 0 for none.

    Returns:
        The bound (0 or more) and how it was found.
    """
    used = counts.sum(0) > 0
    counts, needed = counts[:, used], needed[:, used]
    targets = np.asarray(fractions, dtype=float)
    each = np.array([_label_bound(counts[:, n], targets, needed[:, n], allowed) for n in range(counts.shape[1])])
    bounds = [(float(each.sum()), "label by label")]
    entries = int((counts > 0).sum()) * len(targets)
    if 0 < entries <= LP_ENTRIES:
        bounds.append((_relaxed(_programme(counts, targets, needed, allowed, each, COARSE)), "linear programme"))
    if 0 < entries <= PROOF_ENTRIES and nodes:
        bounds.append((_branched(_programme(counts, targets, needed, allowed, each, FINE), nodes), "branch and bound"))
    return max(bounds, key=lambda bound: bound[0])


def _label_bound(column: np.ndarray, targets: np.ndarray, needed: np.ndarray, allowed: np.ndarray) -> float:
    """The lowest term of one label, as if it were alone: exact where it has few groups, else by its group counts."""
    groups = np.flatnonzero(column)
    choices = [np.flatnonzero(allowed[group]) for group in groups]
    if len(groups) < 64 and np.prod([float(len(choice)) for choice in choices]) <= ENUMERATED:
        inside = np.array(list(product(*choices)))[:, :, None] == np.arange(len(targets))
        crops = np.einsum("ags,g->as", inside, column[groups] / column.sum())
        held = inside.sum(1)
        terms = (2 * (crops - targets) ** 2 + (held / len(groups) - targets) ** 2).sum(1)
        fits = ((held > 0) | ~needed).all(1)
        return float(terms[fits].min() if fits.any() else terms.min())
    return whole_numbers(len(groups), targets, needed)


def whole_numbers(n: int, targets: np.ndarray, needed: np.ndarray) -> float:
    """min of sum_s (k_s / n - t_s)^2 over whole k that sum to n, with k_s >= 1 where needed and n allows.

    Marginal allocation is exact, for the terms are separable and convex (Fox 1966); k never lies below floor(n t) - S.
    """
    if needed.sum() > n:
        needed = np.zeros_like(needed)
    held = np.maximum(np.floor(n * targets).astype(int) - len(targets), needed.astype(int))
    while held.sum() < n:
        held[int(np.argmin((2 * held + 1) / n - 2 * targets))] += 1
    return float(((held / n - targets) ** 2).sum())


@dataclass(frozen=True)
class _Programme:
    """min cost.x with most x <= limit, equal x = equal_to, low <= x <= high; the first `whole` are whole numbers."""

    cost: np.ndarray
    most: object
    limit: np.ndarray
    equal: object
    equal_to: np.ndarray
    low: np.ndarray
    high: np.ndarray
    whole: int


def _programme(
    counts: np.ndarray,
    targets: np.ndarray,
    needed: np.ndarray,
    allowed: np.ndarray,
    each: np.ndarray,
    tangents: Sequence[float],
) -> _Programme:
    """Variables: x (splits, groups), then per (split, label): crop share, number of groups, and their two squares."""
    from scipy import sparse  # a second of import that other commands do not owe

    (n_groups, n_labels), n_splits = counts.shape, len(targets)
    held = (counts > 0).astype(float)
    n_x, n_terms = n_groups * n_splits, n_splits * n_labels
    crops, groups = sparse.csr_matrix((counts / counts.sum(0)).T), sparse.csr_matrix(held.T)
    split_by_split = sparse.identity(n_splits)
    one, none = sparse.identity(n_terms, format="csr"), sparse.csr_matrix((n_terms, n_terms))
    equal = sparse.bmat(
        [
            [sparse.kron(np.ones((1, n_splits)), sparse.identity(n_groups)), None, None, None, None],
            [sparse.kron(split_by_split, crops), -one, None, None, None],
            [sparse.kron(split_by_split, groups), None, -one, none, none],
        ],
        format="csr",
    )
    t, n = np.repeat(targets, n_labels), np.tile(held.sum(0), n_splits)
    rows, limits = [], []

    def square_above(term: int, slope: np.ndarray, offset: np.ndarray) -> None:
        """The square of a crop share (term 0) or of a number of groups (term 1) is at least slope * it + offset."""
        blocks = [sparse.csr_matrix((n_terms, n_x)), none, none, none, none]
        blocks[1 + term], blocks[3 + term] = sparse.csr_matrix(sparse.diags(slope)), -one
        rows.append(sparse.hstack(blocks))
        limits.append(-offset)

    for d in (sign * distance for distance in tangents for sign in (-1, 1)):  # u^2 >= 2 d u - d^2
        square_above(0, np.full(n_terms, 2 * d), -2 * d * t - d * d)
    for shift in CHORDS:
        k = np.floor(n * t) + shift
        slope = (2 * k + 1) / n**2 - 2 * t / n
        square_above(1, slope, (k / n - t) ** 2 - slope * k)
    per_label = sparse.kron(np.ones((1, n_splits)), sparse.identity(n_labels))
    rows.append(sparse.hstack([sparse.csr_matrix((n_labels, n_x + 2 * n_terms)), -2 * per_label, -per_label]))
    limits.append(-each)
    size = n_x + 4 * n_terms
    low = np.zeros(size)
    reachable = held.T @ allowed > 0  # a label whose groups are all fixed elsewhere cannot be had
    low[n_x + n_terms : n_x + 2 * n_terms] = (needed & reachable.T).ravel()
    high = np.concatenate([allowed.T.ravel().astype(float), np.ones(n_terms), n, np.ones(2 * n_terms)])
    cost = np.concatenate([np.zeros(n_x + 2 * n_terms), np.full(n_terms, 2.0), np.ones(n_terms)])
    equal_to = np.concatenate([np.ones(n_groups), np.zeros(2 * n_terms)])
    return _Programme(cost, sparse.vstack(rows, format="csr"), np.concatenate(limits), equal, equal_to, low, high, n_x)


def _relaxed(lp: _Programme) -> float:
    """The linear programme's bound by weak duality: for prices p >= 0 of `most` and any q of `equal`, the minimum of
    cost.x + p.(most x - limit) + q.(equal_to - equal x) over the box is a lower bound."""
    from scipy.optimize import linprog

    box = np.column_stack([lp.low, lp.high])
    found = linprog(lp.cost, lp.most, lp.limit, lp.equal, lp.equal_to, box, method="highs-ipm")
    if found.status != 0:
        return 0.0
    p, q = np.maximum(-found.ineqlin.marginals, 0), found.eqlin.marginals
    reduced = lp.cost + lp.most.T @ p - lp.equal.T @ q  # type: ignore[attr-defined]
    least = np.where(reduced > 0, reduced * lp.low, reduced * lp.high).sum()
    return max(float(least - p @ lp.limit + q @ lp.equal_to), 0.0)


def _branched(lp: _Programme, nodes: int) -> float:
    """What branch and bound has proven after so many nodes."""
    from scipy.optimize import Bounds, LinearConstraint, milp

    found = milp(
        lp.cost,
        integrality=(np.arange(len(lp.cost)) < lp.whole).astype(int),
        bounds=Bounds(lp.low, lp.high),  # type: ignore[arg-type]
        constraints=[
            LinearConstraint(lp.most, -np.inf, lp.limit),  # type: ignore[arg-type]
            LinearConstraint(lp.equal, lp.equal_to, lp.equal_to),  # type: ignore[arg-type]
        ],
        options={"node_limit": nodes},
    )
    proven = found.mip_dual_bound
    return max(float(proven) - TOLERANCE, 0.0) if proven is not None and np.isfinite(proven) else 0.0
