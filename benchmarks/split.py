"""How good and how fast `trapline split` is beside the old chain's random search, on the same counts in the same run.

    uv run python benchmarks/split.py [COUNTS.csv ...] [--draws 10000] [--seeds 1]

The old search is written here from its description: it draws 10,000 assignments of locations, looks up each draw's
rows in a pandas table of counts, sums them per split and keeps the lowest score. Counts: a row per location, a column
per label (../shared/data/splits). pandas is needed for the baseline only: `uv pip install pandas`.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import polars as pl

from trapline.core import split_bound, splitting
from trapline.core.split_search import optimise
from trapline.stages.split import FIRST_DRAWS

FRACTIONS = (0.7, 0.2, 0.1)
DATA = Path(__file__).parents[2] / "shared" / "data" / "splits"


def old_search(counts: np.ndarray, draws: int, seed: int) -> tuple[float, float]:
    """The best score of `draws` random splits in pandas, and its seconds."""
    import pandas as pd

    rng = np.random.default_rng(seed)
    table = pd.DataFrame(counts, index=[f"loc_{n}" for n in range(len(counts))])
    begin = time.perf_counter()
    present = table > 0
    crops_of_label, locations_of_label = table.sum(), present.sum()
    names = table.index.to_numpy()
    edges = (np.cumsum(FRACTIONS)[:-1] * len(names)).round().astype(int)
    best = np.inf
    for _ in range(draws):
        parts = np.split(rng.permutation(names), edges)
        score = 0.0
        for part, target in zip(parts, FRACTIONS, strict=True):
            crop_share = table.loc[part].sum() / crops_of_label
            location_share = present.loc[part].sum() / locations_of_label
            score += float((2 * (crop_share - target) ** 2 + (location_share - target) ** 2).sum())
        best = min(best, score)
    return best, time.perf_counter() - begin


def new_search(counts: np.ndarray, seed: int) -> tuple[float, float, float, str]:
    """Score, seconds (the bound's included), bound and how it was found, as `trapline split` does it."""
    begin = time.perf_counter()
    allowed = splitting.open_splits(len(counts), FRACTIONS)
    needed = splitting.needed_splits(counts, FRACTIONS, allowed)
    start = splitting.best_random(counts, FRACTIONS, FIRST_DRAWS, seed, allowed)
    found = optimise(counts, FRACTIONS, needed, allowed, [start], seed)
    assert not splitting.missing(counts, found, needed)
    bound, how = split_bound.lower_bound(counts, FRACTIONS, needed, allowed, nodes=100)
    return float(splitting.score(counts, found, FRACTIONS)), time.perf_counter() - begin, bound, how


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("counts", nargs="*", type=Path, default=[DATA / "300x30.csv", DATA / "3000x100.csv"])
    parser.add_argument("--draws", type=int, default=10_000)
    parser.add_argument("--seeds", type=int, default=1)
    args = parser.parse_args()
    new_search(np.ones((9, 2)), 0)  # imports are not the search
    print("counts        seed  old score    seconds  new score    seconds  score ratio  time ratio  bound (how)")
    for path in args.counts:
        table = pl.read_csv(path)
        counts = table.drop(table.columns[0]).to_numpy().astype(float)
        for seed in range(args.seeds):
            score, seconds, bound, how = new_search(counts, seed)
            old, old_seconds = old_search(counts, args.draws, seed)
            print(
                f"{path.stem:12} {seed:5} {old:10.3f} {old_seconds:10.1f} {score:10.4f} {seconds:10.2f} "
                f"{score / old:12.3f} {seconds / old_seconds:11.3f}  {bound:.4f} ({how}), gap {score - bound:.4f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
