"""Recipes against each other at locations held out: the default, the old chain's, the probe, and candidates.

    uv run python benchmarks/recipes.py run [--folder build/recipes] [--sets demo semireal] [--arms default reference]
        [--splits 3] [--seeds 2] [--image-size 128] [--epochs 6] [--model tf_efficientnet_lite0] [--device auto]
    uv run python benchmarks/recipes.py table [--folder build/recipes] [--sets ...] [--arms ...] [--splits 3] ...

Every arm is trained on the same splits with the same seeds. A training that is finished is not repeated, so that a
night can be had in parts. Splits are random draws; split seeds from 100 on are for choosing candidates, those below
for the table.
"""

import argparse
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
import torch

import candidates
import trapline
from backgrounds import Backgrounds
from candidates import ARMS, thinned
from trapline.apps import demo
from trapline.core import recipes
from trapline.core.config import SplitConfig, TrainConfig
from trapline.core.log import Log
from trapline.learn import loop
from trapline.learn.validation import balanced_loss, judge
from trapline.stages.split import split
from trapline.stages.train import train

DATA = Path(__file__).parents[1] / ".." / "shared" / "data"
DRAWS = 20  # few, so that splits differ
EVERY = ("default", "reference")  # arms of which every epoch is scored; of others the probe and the kept one


def opened(folder: Path, name: str) -> trapline.Project:
    """A set's project with its examples, made where it is missing."""
    home = folder / name
    if (home / "trapline.yaml").exists():
        project = trapline.Project(home)
    elif name == "demo":
        planted = demo.draw(folder / "drawn", seed=0)
        project = trapline.init(home, [planted.annotations], planted.images, name)
    else:
        project = trapline.init(home, [DATA / name / "export.json"], DATA / name / "images", name)
    project.make("dataset", max_failures=10**6)
    return project


def run(args: argparse.Namespace) -> None:
    """Train what is missing, set by set, split by split, arm by arm."""
    for name in args.sets:
        project = opened(args.folder, name)
        examples = project.table("examples")
        numbers = range(args.first_split, args.first_split + args.splits)
        turns = [(seed, number, str(arm)) for seed in range(args.seeds) for number in numbers for arm in args.arms]
        for seed, number, arm in turns:
            place = folder(args) / name / f"{number} {seed} {arm}"
            if (place / "result.json").exists():
                continue
            drawn = split(examples, SplitConfig(method="random", draws=DRAWS, seed=number), log=Log())
            part = thinned(examples, drawn, ARMS[arm], number)
            behind = backgrounds(project, part, drawn) if ARMS[arm].pasted else None
            result = once(part, drawn, arm, seed, place, project.layout.crops, behind, args)
            print(f"{name} split {number} seed {seed} {arm}: {result['test']:.3f}, {result['cpu_s']:.0f} s", flush=True)


def folder(args: argparse.Namespace) -> Path:
    """Of trainings of one size and length."""
    return args.folder / f"{args.image_size} px, {args.epochs} epochs"


def backgrounds(project: trapline.Project, examples: pl.DataFrame, drawn: pl.DataFrame) -> Backgrounds:
    """Of the training crops' frames."""
    rows = examples.join(drawn.filter(pl.col("split") == "train"), on="group_id", how="semi")
    return Backgrounds(rows, *(project.table(name) for name in ("boxes", "files", "crops")))


def once(
    examples: pl.DataFrame,
    drawn: pl.DataFrame,
    name: str,
    seed: int,
    place: Path,
    crops: Path,
    behind: Backgrounds | None,
    args: argparse.Namespace,
) -> dict[str, float]:
    """One training; writes what it gives at the test locations."""
    arm = ARMS[name]
    cfg = TrainConfig(
        model=args.model, image_size=args.image_size, epochs=args.epochs * arm.longer, patience=99, seed=seed,
        device=args.device, unlearnable="keep", precision=args.precision,
    )  # fmt: skip
    recipes.RECIPES = {**recipes.RECIPES, "default": arm.recipe}
    place.mkdir(parents=True, exist_ok=True)
    watched = Watched(examples, drawn, crops, place, every=name in EVERY)
    loop.Training = watched.training(candidates.training(_TRAINING, arm, behind))
    begin_cpu = time.process_time()
    done = train(examples, drawn, cfg, crops_dir=crops, run_dir=place, log=Log())
    result = {
        "cpu_s": time.process_time() - begin_cpu - watched.cpu_s, "best_epoch": done.best_epoch,
        "epochs": watched.told, "test": watched.told[done.best_epoch],
    }  # fmt: skip
    shutil.rmtree(place / "checkpoints")
    (place / "result.json").write_text(json.dumps(result))
    return result


class Watched:
    """Test scores after epochs; in the end, of several views of every crop. The training does not depend on them.

    Args:
        every: Every epoch is scored; else the probe and the one that is kept in the end.
    """

    def __init__(self, examples: pl.DataFrame, drawn: pl.DataFrame, crops: Path, place: Path, *, every: bool):
        rows = examples.join(drawn.filter(pl.col("split") == "test"), on="group_id", how="semi").sort("crop_id")
        self.rows = rows.select("crop_id", "group_id", label=pl.col("labels").list.first())
        self.paths = [crops / crop_id for crop_id in rows["crop_id"]]
        self.place, self.every, self.told, self.cpu_s = place, every, {}, 0.0
        self.kept: tuple[int, dict[str, torch.Tensor], np.ndarray | None] | None = None

    def training(self, base: type[loop.Training]) -> type[loop.Training]:
        watched = self

        class Training(base):
            def _evaluate(self, epoch: int):
                found = super()._evaluate(epoch)
                begin = time.process_time()
                if watched.every or not epoch:
                    watched.keep(self, epoch, found[0])
                if found[1].is_kept(self.now.best_merit, self.recipe.best_by):
                    weights = {name: value.clone() for name, value in self.average.model.state_dict().items()}
                    watched.kept = (epoch, weights, found[0])
                if epoch == self.recipe.epochs:
                    watched.end(self)
                watched.cpu_s += time.process_time() - begin
                return found

        return Training

    def end(self, training: loop.Training) -> None:
        """Score the kept weights, several views of every crop too."""
        assert self.kept is not None
        epoch, weights, val = self.kept
        network = training.average.model
        last = {name: value.clone() for name, value in network.state_dict().items()}
        network.load_state_dict(weights)
        if epoch not in self.told:
            self.keep(training, epoch, val)
        if self.every:

            def infer(change: Callable[[torch.Tensor], torch.Tensor]) -> np.ndarray:
                hook = network.register_forward_pre_hook(lambda _, inputs: (change(inputs[0]),))
                scores = training._infer(self.paths, "scores")
                hook.remove()
                return scores

            np.savez_compressed(self.place / "views.npz", **candidates.views(infer))  # type: ignore[arg-type]
        network.load_state_dict(last)

    def keep(self, training: loop.Training, epoch: int, val: np.ndarray | None) -> None:
        """Write scores of val and test; remember the macro recall."""
        scores = training._infer(self.paths, "scores")
        truth = [training.task.labels.index(label) for label in self.rows["label"]]
        assert val is not None
        np.savez_compressed(
            self.place / f"epoch {epoch}.npz", val=val, val_truth=training.task.val_targets, test=scores,
            test_truth=truth, group=self.rows["group_id"].to_list(),
        )  # fmt: skip
        right = self.rows.with_columns(right=pl.Series(scores.argmax(1)) == pl.Series(truth))
        self.told[epoch] = macro_recall(right)


_TRAINING = loop.Training


def macro_recall(table: pl.DataFrame) -> float:
    return float(table.group_by("label").agg(pl.col("right").mean())["right"].mean())  # type: ignore[arg-type]


@dataclass(frozen=True)
class Run:
    """One finished training: what every arm and epoch said at the test locations.

    Args:
        truth, group: [n] label numbers and groups of the test crops.
        named: [epochs + 1, n] labels given after every epoch; the first row is the probe's where there is one.
        chosen: Row of the epoch that is kept, by the recipe's rule.
        cpu_s: Of the training.
        rare: The third of the labels with fewest training crops.
    """

    truth: np.ndarray
    group: np.ndarray
    named: np.ndarray
    chosen: int
    cpu_s: float
    rare: np.ndarray


def read(place: Path) -> Run:
    told = json.loads((place / "result.json").read_text())
    params = json.loads((place / "params.json").read_text())
    found = [np.load(path) for path in sorted(place.glob("epoch *.npz"), key=lambda path: int(path.stem.split()[1]))]
    counts = np.array([params["train"].get(label, 0) for label in params["labels"]])
    by = ARMS[place.name.split(" ", 2)[2]].recipe.best_by
    return Run(
        truth=found[0]["test_truth"],
        group=found[0]["group"],
        named=np.array([one["test"].argmax(1) for one in found]),
        chosen=kept(found, by),
        cpu_s=told["cpu_s"],
        rare=np.argsort(counts, kind="stable")[: max(len(counts) // 3, 1)],
    )


def kept(epochs: Sequence[Mapping[str, np.ndarray]], by: Literal["balanced_loss", "macro_recall"]) -> int:
    """Row of the epoch that is kept, by val."""
    best, row = None, 0
    for number, found in enumerate(epochs):
        judged = judge(found["val"], found["val_truth"])
        judged = judged._replace(balanced_loss=balanced_loss(found["val"], found["val_truth"]))
        row = number if judged.is_kept(best, by) else row
        merit = judged.merit(by)
        best = max(merit, best or merit) if merit is not None else best
    return row


def recall(run: Run, row: int, weight: np.ndarray | None = None, only: np.ndarray | None = None) -> float:
    """Macro recall of an epoch, of crops that weigh `weight`, over the labels there are (or over some of them)."""
    weight = np.ones(len(run.truth)) if weight is None else weight
    right = weight * (run.named[row] == run.truth)
    n = int(run.truth.max()) + 1
    totals, hits = np.bincount(run.truth, weight, n), np.bincount(run.truth, right, n)
    there = totals > 0
    if only is not None:
        there &= np.isin(np.arange(n), only)
    return float((hits[there] / totals[there]).mean()) if there.any() else float("nan")


def table(args: argparse.Namespace) -> None:
    """Print the arms of every set, and the default's differences with 95% intervals over locations and seeds."""
    base = folder(args)
    for name in args.sets:
        runs: dict[str, dict[tuple[str, str], Run]] = {}
        for path in sorted((base / name).glob("*/result.json")):
            split_number, seed, arm = path.parent.name.split(" ", 2)
            if arm not in args.arms or int(split_number) - args.first_split not in range(args.splits):
                continue
            runs.setdefault(arm, {})[split_number, seed] = read(path.parent)
        keys = sorted(set.intersection(*(set(found) for found in runs.values())))
        print(f"\n{name}: {len({key[0] for key in keys})} splits, {len(keys)} trainings of each arm")
        probes = {key: replace(run, chosen=0) for key, run in runs["default"].items()}
        arms = {"probe": probes, **runs}
        for arm, found in arms.items():
            mine = [found[key] for key in keys]
            whole = np.array([recall(run, run.chosen) for run in mine])
            last = np.mean([recall(run, len(run.named) - 1) for run in mine])
            rare = np.nanmean([recall(run, run.chosen, only=run.rare) for run in mine])
            cost = f", {np.mean([run.cpu_s for run in mine]):.0f} CPU s" if arm != "probe" else ""
            print(f"  {arm}: {whole.mean():.3f} (each {', '.join(f'{x:.3f}' for x in whole)}); "
                  f"last epoch {last:.3f}; rare labels {rare:.3f}{cost}")  # fmt: skip
        default = runs["default"]
        for other, found in arms.items():
            if other != "default":
                low, high = interval(default, found, keys)
                pairs = [(default[key], found[key]) for key in keys]
                mean = np.mean([recall(one, one.chosen) - recall(two, two.chosen) for one, two in pairs])
                print(f"  default - {other}: {mean:+.3f} ({low:+.3f} to {high:+.3f})")
        if "reference" in runs:
            early = []
            for key in keys:
                goal = recall(runs["reference"][key], len(runs["reference"][key].named) - 1)
                reached = [recall(runs["default"][key], row) >= goal for row in range(len(runs["default"][key].named))]
                early.append(reached.index(True) if any(reached) else None)
            ours, theirs = (np.mean([runs[arm][key].cpu_s for key in keys]) for arm in ("default", "reference"))
            many = min(max(round(args.epochs * ours / theirs), 1), args.epochs)
            equal = np.mean([recall(runs["reference"][key], many - 1) for key in keys])  # its first row is epoch 1
            print(f"  reference after the default's compute ({many} of its {args.epochs} epochs): {equal:.3f}")
            print(f"  epochs until the default reaches the reference's last, each training: {early}")


def interval(one: dict, other: dict, keys: list, draws: int = 2000) -> tuple[float, float]:
    """Bootstrap of the mean paired difference: locations weigh as often as drawn, seeds are drawn per split."""
    random = np.random.default_rng(0)
    groups = sorted({group for key in keys for group in one[key].group})
    place = {key: np.array([groups.index(group) for group in one[key].group]) for key in keys}
    found = []
    for _ in range(draws):
        times = random.multinomial(len(groups), np.full(len(groups), 1 / len(groups)))
        differences = []
        for number in sorted({key[0] for key in keys}):
            own = [key for key in keys if key[0] == number]
            for index in random.integers(len(own), size=len(own)):
                a, b = one[own[index]], other[own[index]]
                weight = times[place[own[index]]].astype(float)
                differences.append(recall(a, a.chosen, weight) - recall(b, b.chosen, weight))
        found.append(np.nanmean(differences))
    return tuple(np.quantile(found, [0.025, 0.975]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "table"])
    parser.add_argument("--folder", type=Path, default=Path("build/recipes"))
    parser.add_argument("--sets", nargs="+", default=["demo", "semireal"])
    parser.add_argument("--arms", nargs="+", default=["default", "reference"], choices=ARMS)
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--first-split", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--model", default="tf_efficientnet_lite0")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--precision", default="fp32")
    arguments = parser.parse_args()
    (run if arguments.what == "run" else table)(arguments)
