"""trapline compare A B: is one classifier better than another, at places that neither has seen?"""

from pathlib import Path

import numpy as np
import polars as pl

from trapline.core.comparison import Difference, differences, in_words, label_numbers
from trapline.core.errors import InputError
from trapline.core.log import Log
from trapline.io import tables
from trapline.io.layout import Layout
from trapline.io.runs import is_multilabel, named_run, read_json

HELD_OUT = "test"


def compare(a: str | Path, b: str | Path, *, root: str | Path = ".", log: Log | None = None) -> list[Difference]:
    """Compare two evaluated runs crop by crop and say it in one sentence.

    Args:
        a, b: A run of the project by its folder's name, or any run's folder.
        root: The project's folder.
        log: Told the account and the sentence.

    Returns:
        Macro recall, accuracy and log loss of both, and the differences, on the test crops that both scored.

    Raises:
        InputError: A run is not there or not evaluated, or the two have no test crop in common.
    """
    log = log or Log()
    (name_a, scored_a), (name_b, scored_b) = (_scored(str(given), Path(root)) for given in (a, b))
    if name_a == name_b:
        name_a, name_b = str(a), str(b)
    kept = ("crop_id", "split", "label", "predicted", "true_score")
    test = scored_a.select(*kept, "group_id").filter(pl.col("split") == HELD_OUT)
    both = test.join(scored_b.select(kept), on="crop_id", suffix="_b")
    unseen = both.filter(pl.col("split_b") == HELD_OUT)
    pairs = unseen.filter(pl.col("label") == pl.col("label_b")).sort("group_id", "crop_id")
    left_out = {
        f"not scored by {name_b}": test.height - both.height,
        f"not of {HELD_OUT} for {name_b}": both.height - unseen.height,
        f"with another label for {name_b}": unseen.height - pairs.height,
    }
    log.account(f"{HELD_OUT} crops of {name_a}", test.height, "compared", pairs.height, left_out)
    if not pairs.height:
        raise InputError(
            f"{name_a} and {name_b} have no {HELD_OUT} crop in common: their projects or splits differ. Make both from "
            "one split (trapline split --match-test keeps a former test set)."
        )
    names, (truth, first, second) = label_numbers(
        *(pairs[column].to_list() for column in ("label", "predicted", "predicted_b"))
    )
    losses = [-np.log(np.maximum(pairs[column].to_numpy(), 1e-7)) for column in ("true_score", "true_score_b")]
    group = pairs["group_id"].rle_id().cast(pl.Int64).to_numpy()
    found = differences(truth, first, second, losses[0], losses[1], group, len(names))
    log.note(in_words(name_a, name_b, found[0], pairs.height, pairs["group_id"].n_unique()))
    return found


def _scored(run: str, root: Path) -> tuple[str, pl.DataFrame]:
    """A run's name and its SCORED rows."""
    folder = named_run(run, Layout(root).runs)
    path = folder / "scored.parquet"
    if is_multilabel(read_json(folder / "params.json")):
        raise InputError(
            f"run {folder.name} was trained with --multilabel, and compare pairs crops that have one label each. "
            "Its own figures stand in its report.html and metrics.parquet."
        )
    if not path.is_file():
        raise InputError(
            f"run {folder.name} is not evaluated yet: "
            f"trapline predict --run {folder.name} && trapline evaluate, in its project."
        )
    return folder.name, tables.read(path)
