"""How well `trapline inspect` finds planted label errors and planted duplicates.

    uv run python benchmarks/label_errors.py [--folder build/label_errors] [--seeds 5]

Errors of three origins: the demo's own (a demo per seed), 5% random flips on photos5, 5% flips between the most
confused labels on semireal. K is the number planted. Features are computed once and kept in the folder.
"""

import argparse
from pathlib import Path

import numpy as np
import polars as pl

import trapline
from trapline.apps.demo import DATASET, draw
from trapline.core.issues import labels as label_issues
from trapline.learn import unseen

DATA = Path(__file__).parents[1] / ".." / "shared" / "data"
SETS = {"photos5": "photos5_cct.json", "semireal": "export.json"}
SHARE = 0.05


def embedded(project: trapline.Project) -> pl.DataFrame:
    """Examples with one label and a feature vector, their label as `label`."""
    failures = 10_000  # the demo plants broken files
    project.make("embed", max_failures=failures)
    joined = project.table("examples").join(project.table("embeddings"), on="crop_id", how="inner")
    joined = joined.filter(pl.col("embedding").is_not_null() & (pl.col("labels").list.len() == 1))
    return joined.with_columns(label=pl.col("labels").list.first()).sort("crop_id")


def at(folder: Path, make) -> trapline.Project:
    return trapline.Project(folder) if (folder / "trapline.yaml").exists() else make(folder)


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


def found(table: pl.DataFrame, given: np.ndarray, wrong: np.ndarray, names: list[str], rank) -> tuple[float, float]:
    """Precision at K and recall at 3K."""
    chances = probabilities(table, given, len(names))
    listed = label_issues.likely_wrong(table["crop_id"].to_list(), given, chances, names, rank=rank)
    position = {crop_id: k for k, crop_id in enumerate(table["crop_id"])}
    hits = np.array([wrong[position[crop_id]] for crop_id in listed["crop_id"]])
    planted = int(wrong.sum())
    return hits[:planted].sum() / planted, hits[: 3 * planted].sum() / planted


def demo(folder: Path, seed: int) -> tuple[pl.DataFrame, np.ndarray]:
    """A demo's crops, and which of them carry a planted wrong label."""
    planted = draw(folder / f"drawn{seed}", seed=seed)
    project = at(
        folder / f"demo{seed}", lambda path: trapline.init(path, [planted.annotations], planted.images, DATASET)
    )
    table = embedded(project)
    boxes = project.table("crops").select("crop_id", "box_id")
    of_box = table.select("crop_id").join(boxes, on="crop_id", how="left", maintain_order="left")["box_id"]
    wrong = {row.annotation_id for row in planted.wrong_labels}
    return table, np.array([box.split("/")[-1] in wrong or box in wrong for box in of_box])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("build/label_errors"))
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    tables = {}
    for name, annotations in SETS.items():
        make = lambda path, name=name, file=annotations: trapline.init(  # noqa: E731
            path, [DATA / name / file], DATA / name / "images", name
        )
        tables[name] = embedded(at(options.folder / name, make))
    for rank in ("normalized_margin", "self_confidence"):
        for origin in (*SETS, "demo"):
            rows = []
            for seed in range(options.seeds):
                if origin == "demo":
                    table, wrong = demo(options.folder, seed)
                    names, given = np.unique(table["label"], return_inverse=True)
                else:
                    table = tables[origin]
                    names, true = np.unique(table["label"], return_inverse=True)
                    confused = None
                    if origin == "semireal":
                        chances = np.nan_to_num(probabilities(table, true, len(names)))
                        chances[np.arange(len(true)), true] = 0
                        confused = np.array([chances[true == k].sum(axis=0).argmax() for k in range(len(names))])
                    given, wrong = flipped(true, seed, confused, len(names))
                rows.append(found(table, given, wrong, list(names), rank))
            figures = np.array(rows)
            print(
                f"{origin:9} {rank:18} planted {int(wrong.sum()):3} of {len(wrong):5}: "
                f"precision at K {' '.join(f'{v:.2f}' for v in figures[:, 0])} (mean {figures[:, 0].mean():.2f}), "
                f"recall at 3K {' '.join(f'{v:.2f}' for v in figures[:, 1])} (mean {figures[:, 1].mean():.2f})",
                flush=True,
            )


if __name__ == "__main__":
    main()
