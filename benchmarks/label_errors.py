"""How well `trapline inspect` finds planted label errors.

    uv run python benchmarks/label_errors.py [--folder build/label_errors] [--sets photos5 semireal demo] [--seeds 5]

5% random flips on photos5, 5% flips between the most confused labels on semireal; the demo's own wrong labels and
copied frames, as `trapline inspect` lists them, over seeds of the drawing. K is the number planted. Features are
computed once and kept in the folder.
"""

import argparse
from pathlib import Path
from typing import get_args

import numpy as np
import polars as pl

import trapline
from trapline.apps import demo
from trapline.core.issues import labels as label_issues
from trapline.learn import unseen

DATA = Path(__file__).parents[1] / ".." / "shared" / "data"
SETS = {"photos5": "photos5_cct.json", "semireal": "export.json"}
SHARE = 0.05


def embedded(project: trapline.Project) -> pl.DataFrame:
    """Examples with one label and a feature vector, their label as `label`."""
    project.make("embed")
    joined = project.table("examples").join(project.table("embeddings"), on="crop_id", how="inner")
    joined = joined.filter(pl.col("embedding").is_not_null() & (pl.col("labels").list.len() == 1))
    return joined.with_columns(label=pl.col("labels").list.first()).sort("crop_id")


def opened(folder: Path, name: str) -> trapline.Project:
    """The set's project in the folder, made where it is missing."""
    if (folder / name / "trapline.yaml").exists():
        return trapline.Project(folder / name)
    return trapline.init(folder / name, [DATA / name / SETS[name]], DATA / name / "images", name)


def probabilities(table: pl.DataFrame, given: np.ndarray, n: int) -> np.ndarray:
    return unseen.probabilities(table["embedding"].to_numpy(), given, table["group_id"].to_numpy(), n)


def flipped(true: np.ndarray, seed: int, confusion: np.ndarray | None, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Given labels and which crops were flipped: to any other label, or to the one most confused with the true one."""
    random = np.random.default_rng(seed)
    wrong = random.choice(len(true), round(SHARE * len(true)), replace=False)
    given = true.copy()
    if confusion is None:
        given[wrong] = (true[wrong] + random.integers(1, n, len(wrong))) % n
    else:
        given[wrong] = confusion[true[wrong]]
    return given, np.isin(np.arange(len(true)), wrong)


def found(
    table: pl.DataFrame, given: np.ndarray, wrong: np.ndarray, names: list[str], rank: label_issues.Rank
) -> tuple[float, float]:
    """Precision at K and recall at 3K."""
    chances = probabilities(table, given, len(names))
    listed = label_issues.likely_wrong(table["crop_id"].to_list(), given, chances, names, rank=rank)
    position = {crop_id: k for k, crop_id in enumerate(table["crop_id"])}
    hits = np.array([wrong[position[crop_id]] for crop_id in listed["crop_id"]])
    planted = int(wrong.sum())
    return hits[:planted].sum() / planted, hits[: 3 * planted].sum() / planted


def inspected(folder: Path, seed: int) -> None:
    """Draw a demo, inspect it, and print how much of what was planted is listed."""
    planted = demo.draw(folder / f"demo {seed}" / "drawn", seed=seed)
    home = folder / f"demo {seed}" / "project"
    if (home / "trapline.yaml").exists():
        project = trapline.Project(home)
    else:
        project = trapline.init(home, [planted.annotations], planted.images, "demo")
    issues = project.inspect(max_failures=10**9)
    crops = project.table("crops").select("crop_id", "box_id", "image_id")
    wrong = {f"demo/{error.annotation_id}" for error in planted.wrong_labels}
    wrong_crops = set(crops.filter(pl.col("box_id").is_in(wrong))["crop_id"])
    listed = issues.filter(pl.col("kind") == label_issues.KIND)["crop_id"].to_list()
    k = len(wrong_crops)
    hits = np.isin(listed, list(wrong_crops))
    figures = f"precision at K {hits[:k].sum() / k:.2f}, recall at 3K {hits[: 3 * k].sum() / k:.2f}"
    print(f"demo seed {seed}, {k} of {crops.height} wrong: {figures}", flush=True)
    named = dict(project.table("examples").select("crop_id", "image_id").iter_rows())
    pairs = [(f"demo/{copy.image_id}", f"demo/{copy.original_image_id}") for copy in planted.duplicates]
    shown = {image for pair in pairs if set(pair) <= set(named.values()) for image in pair}
    told = {named[crop] for crop in issues.filter(pl.col("kind") == "near_duplicate")["crop_id"]}
    hits = len(told & shown)
    figures = f"precision {hits / max(len(told), 1):.2f}, recall {hits / len(shown):.2f}"
    print(f"demo seed {seed}, {len(shown)} frames of copied pairs: {figures}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("build/label_errors"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--sets", nargs="+", choices=[*SETS, "demo"], default=[*SETS, "demo"])
    options = parser.parse_args()
    for name in options.sets:
        if name == "demo":
            for seed in range(options.seeds):
                inspected(options.folder, seed)
            continue
        table = embedded(opened(options.folder, name))
        names, true = np.unique(table["label"], return_inverse=True)
        confused = None
        if name == "semireal":
            chances = np.nan_to_num(probabilities(table, true, len(names)))
            chances[np.arange(len(true)), true] = 0
            confused = np.array([chances[true == k].sum(axis=0).argmax() for k in range(len(names))])
        for rank in get_args(label_issues.Rank):
            for seed in range(options.seeds):
                given, wrong = flipped(true, seed, confused, len(names))
                precision, recall = found(table, given, wrong, list(names), rank)
                figures = f"precision at K {precision:.2f}, recall at 3K {recall:.2f}"
                print(f"{name} {rank} seed {seed}, {wrong.sum()} of {len(true)} planted: {figures}", flush=True)


if __name__ == "__main__":
    main()
