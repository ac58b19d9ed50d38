"""Local search for the split with the lowest score: swaps and moves of groups under a falling threshold.

The score (`splitting.score`) is a squared distance: with the groups' crop and group shares as rows of a matrix A, and
a split's totals as the sum of its rows, it is the sum over splits of |total - target|^2. So what a swap or a move
changes follows from two products, A times the splits' residuals and A times A, and all swaps of a group with every
other are scored at once without recomputing any total.

Source: threshold accepting, Dueck & Scheuer 1990 (a step that worsens the score by less than a falling threshold is
taken); measured against restarts and random kicks in docs/split.md.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from trapline.core import splitting

GRAM_GROUPS = 4096  # all inner products of so many groups are 134 MB; beyond, a step looks at a sample of the groups
WORK = 7_500_000  # steps times groups: what the search may cost
MAX_STEPS, MIN_STEPS = 8000, 400
GROUPS_PER_MOVER = 300  # the last steps choose among the moves and swaps of one group in so many, the first of one
FIRST_THRESHOLD = 8.0  # times the mean squared length of a group's row of A: what one swap typically changes
PRICE = 0.5  # times the first threshold
EVEN_DRAWS = 0.2  # movers drawn evenly, per mover drawn by weight: heavy groups decide most
TRIED = 60_000  # so many assignments or fewer (3 splits of 10 groups) are all tried
TINY = 1e-12


def optimise(
    counts: np.ndarray,
    fractions: Sequence[float],
    needed: np.ndarray,
    allowed: np.ndarray,
    starts: Sequence[np.ndarray],
    seed: int,
    steps: int | None = None,
) -> np.ndarray:
    """Improve each of `starts` by swapping and moving groups; fewest labels missing where needed, then lowest score.

    A step may take a label away from where it is needed at a price, since else what must stay parts the assignments
    into islands that no single step connects. What is returned never misses more than the best start does.

    Args:
        counts: (groups, labels) crops.
        fractions: Target share of each split.
        needed: (splits, labels) booleans: which label must be in which split.
        allowed: (groups, splits) booleans: which group may be in which split.
        starts: (groups,) integers each, within `allowed`.
        steps: How many in all; by default as many as take seconds.

    Returns:
        (groups,) integers: the best assignment that was met. The same arguments give the same one.
    """
    choices = [np.flatnonzero(row) for row in allowed]
    if math.prod(map(len, choices)) <= TRIED:
        return _best_of_all(counts, fractions, needed, choices, starts[0])
    search = _Search(counts, fractions, needed, allowed, np.random.default_rng(seed))
    steps = steps or int(np.clip(WORK // max(len(counts), 1), MIN_STEPS, MAX_STEPS))
    ends = np.stack([search.run(start, steps // len(starts)) for start in starts])
    return ends[np.lexsort((splitting.score(counts, ends, fractions), splitting.missing(counts, ends, needed)))[0]]


def _best_of_all(
    counts: np.ndarray, fractions: Sequence[float], needed: np.ndarray, choices: list[np.ndarray], start: np.ndarray
) -> np.ndarray:
    """The best of all assignments that fill the splits that `start` fills: fewest missing labels, lowest score."""
    every = np.array(list(product(*choices)))
    filled = np.stack([(every == number).any(1) for number in range(len(fractions))], axis=1)
    every = every[filled[:, np.unique(start)].all(1)]
    return every[np.lexsort((splitting.score(counts, every, fractions), splitting.missing(counts, every, needed)))[0]]


@dataclass
class _State:
    """An assignment and the sums that follow from it.

    Args:
        split: (groups,) integers.
        residual: (splits, 2 labels) sums of weighted shares minus their targets; the score is its square.
        product: (groups, splits) inner products of every group's shares with every residual.
        holders: (splits, labels + 1) groups of a split that have the label; last: groups at all.
    """

    split: np.ndarray
    residual: np.ndarray
    product: np.ndarray
    holders: np.ndarray

    @property
    def score(self) -> float:
        return float((self.residual**2).sum())


class _Search:
    """The matrices of one table of counts, and the steps on them."""

    def __init__(
        self,
        counts: np.ndarray,
        fractions: Sequence[float],
        needed: np.ndarray,
        allowed: np.ndarray,
        rng: np.random.Generator,
    ):
        used = counts.sum(0) > 0
        present = counts > 0
        crops = np.sqrt(2) * counts[:, used] / counts[:, used].sum(0)
        groups = present[:, used] / present[:, used].sum(0)
        self.shares = np.hstack([crops, groups])
        weights = np.repeat([np.sqrt(2), 1.0], int(used.sum()))
        self.targets = np.asarray(fractions, dtype=float)[:, None] * weights
        # "Any group at all" is one more label, which every wished-for split must keep.
        wished = np.array([[fraction > 0] for fraction in fractions])
        self.present = np.hstack([present, np.ones((len(counts), 1), dtype=bool)])
        self.needed = np.hstack([needed, wished])
        self.allowed = allowed
        self.all_allowed = bool(allowed.all())
        self.free = np.flatnonzero(allowed.sum(1) > 1)
        self.length = (self.shares**2).sum(1)
        self.gram = self.shares @ self.shares.T if len(counts) <= GRAM_GROUPS else None
        weight = self.length[self.free]
        odds = np.cumsum(weight / max(weight.sum(), TINY) + EVEN_DRAWS / max(len(weight), 1))
        self.odds = odds[:-1] / odds[-1] if len(odds) else odds
        self.threshold = FIRST_THRESHOLD * float(self.length.mean()) if len(counts) else 0.0
        self.price = self.threshold * PRICE  # of a label missing where it is needed: affordable early, never late
        self.rng = rng

    def run(self, start: np.ndarray, steps: int) -> np.ndarray:
        """The best assignment met in `steps` steps from `start`."""
        state = self._begin(start.copy())
        best, best_rank = start.copy(), (self._short(state), state.score)
        most = min(max(1, len(self.free) // GROUPS_PER_MOVER), 48)
        for step in range(steps if len(self.free) else 0):
            done = step / steps
            taken = self._step(state, 1 + int((most - 1) * done**2), self.threshold * (1 - done) ** 2)
            if taken and (rank := (self._short(state), state.score - TINY)) < best_rank:
                best, best_rank = state.split.copy(), rank
        return best

    def _short(self, state: _State) -> int:
        """How many labels are missing where they are needed."""
        return int(((state.holders < 0.5) & self.needed).sum())

    def _begin(self, split: np.ndarray) -> _State:
        inside = (split[None, :] == np.arange(len(self.targets))[:, None]).astype(float)
        residual = inside @ self.shares - self.targets
        return _State(split, residual, self.shares @ residual.T, inside @ self.present)

    def _step(self, state: _State, movers: int, threshold: float) -> bool:
        """Take the best step that a few groups by chance offer, if it raises the score by less than `threshold`."""
        few = self.free[np.searchsorted(self.odds, self.rng.random(movers), side="right")]
        others = self.free
        if self.gram is None:
            others = self.free[self.rng.integers(len(self.free), size=GRAM_GROUPS)]
        last = (state.holders < 1.5) & (state.holders > 0.5) & self.needed  # a single group holds a label there
        absent = (state.holders < 0.5) & self.needed
        home, away = state.split[few], state.split[others]
        own = state.product[few, home][:, None]
        # Moving a from split s to r changes the score by 2 a.(residual_r - residual_s) + 2 |a|^2.
        moves = state.product[few] - own + self.length[few][:, None]
        moves[np.arange(len(few)), home] = np.inf
        # Swapping a of s with b of r: 2 (a - b).(residual_r - residual_s) + 2 |a - b|^2.
        swaps = state.product[few][:, away] - own - state.product[others, away] + state.product[others][:, home].T
        swaps += self.length[few][:, None] + self.length[others] - 2 * self._inner(few, others)
        swaps[home[:, None] == away] = np.inf
        if last.any() or absent.any():
            mine, theirs = self.present[few].astype(float), self.present[others].astype(float)
            lost = (mine * last[home]).sum(1)[:, None] - mine @ absent.T
            moves += self.price / 2 * lost
            lost = (mine * last[home]) @ (1 - theirs).T + (1 - mine) @ (theirs * last[away]).T
            lost -= absent[home] @ theirs.T + mine @ absent[away].T
            swaps += self.price / 2 * lost
        if not self.all_allowed:
            moves[~self.allowed[few]] = np.inf
            swaps[~(self.allowed[few][:, away] & self.allowed[others][:, home].T)] = np.inf
        move = int(moves.argmin())
        swap = int(swaps.argmin()) if len(others) else 0
        by_move, by_swap = moves.flat[move], swaps.flat[swap] if len(others) else np.inf
        if 2 * min(by_move, by_swap) > threshold - TINY:
            return False
        if by_swap <= by_move:
            row, column = divmod(swap, len(others))
            self._swap(state, int(few[row]), int(others[column]))
        else:
            row, split = divmod(move, len(self.targets))
            self._move(state, int(few[row]), split)
        return True

    def _inner(self, few: np.ndarray, others: np.ndarray) -> np.ndarray:
        if self.gram is None:
            return self.shares[few] @ self.shares[others].T
        return self.gram[few] if len(others) == len(self.shares) else self.gram[few][:, others]

    def _swap(self, state: _State, a: int, b: int) -> None:
        here, there = state.split[a], state.split[b]
        product = self._products(a) - self._products(b)
        self._shift(
            state, here, there, self.shares[a] - self.shares[b], product, self.present[a] * 1.0 - self.present[b]
        )
        state.split[a], state.split[b] = there, here

    def _move(self, state: _State, a: int, there: int) -> None:
        self._shift(state, state.split[a], there, self.shares[a], self._products(a), self.present[a] * 1.0)
        state.split[a] = there

    def _products(self, a: int) -> np.ndarray:
        """(groups,) inner products of a group's shares with every group's."""
        return self.gram[a] if self.gram is not None else self.shares @ self.shares[a]

    def _shift(
        self, state: _State, here: int, there: int, shares: np.ndarray, product: np.ndarray, held: np.ndarray
    ) -> None:
        """Take shares, their products and holders from split `here` to split `there`."""
        state.residual[here] -= shares
        state.residual[there] += shares
        state.product[:, here] -= product
        state.product[:, there] += product
        state.holders[here] -= held
        state.holders[there] += held
