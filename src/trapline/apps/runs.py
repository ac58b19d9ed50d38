"""trapline runs: every training of a project side by side, and what they differ in."""

from dataclasses import dataclass
from pathlib import Path

import msgspec
import polars as pl

from trapline.core.config import TrainConfig
from trapline.core.errors import TraplineError
from trapline.io import tables
from trapline.io.runs import read_lines

HELD_OUT = "test"


@dataclass(frozen=True)
class RunRow:
    """One training.

    Args:
        name: Its folder's name.
        state: begun (it can be gone on with), trained, or evaluated.
        epochs: Finished epochs; None before the first checkpoint.
        planned: Epochs asked for.
        best_val: Macro recall on val of its best epoch (mean average precision where crops have several labels).
        test, low, high: The same at the test locations and its 95% interval; None until it is evaluated.
        crops, labels: How much it learns from.
        seconds: Training time of the finished epochs.
        differs: Option -> value, of those that are not the same in all runs.
    """

    name: str
    state: str
    epochs: int | None
    planned: int
    best_val: float | None
    test: float | None
    low: float | None
    high: float | None
    crops: int
    labels: int
    seconds: float
    differs: dict[str, object]


class _Params(msgspec.Struct):
    config: dict[str, object]
    labels: list[str]
    train: dict[str, int]
    fingerprint: str


def runs(folder: Path) -> list[RunRow]:
    """Every run below `folder` (a project's runs/), in order of their names; those that wrote no params.json are not.

    Raises:
        TraplineError: A run's files are damaged.
    """
    found = {path.parent: _decode(path, _Params) for path in sorted(folder.glob("*/params.json"))}
    options = {run: {**params.config, "data": params.fingerprint[:8]} for run, params in found.items()}
    names = dict.fromkeys(name for chosen in options.values() for name in chosen)
    several = [
        name
        for name in names
        if name not in TrainConfig.inert and len({str(chosen.get(name)) for chosen in options.values()}) > 1
    ]
    return [_row(run, params, {name: options[run].get(name) for name in several}) for run, params in found.items()]


def _row(run: Path, params: _Params, differs: dict[str, object]) -> RunRow:
    story = read_lines(run / "metrics.jsonl")
    named = "val_mean_ap" if params.config.get("multilabel") else "val_macro_recall"
    scores = [score for row in story if isinstance(score := row.get(named), int | float)]
    config = params.config
    judged_by = "macro_average_precision" if config.get("multilabel") else "macro_recall"
    test = _test_figure(run / "metrics.parquet", judged_by)
    planned = 0 if config.get("mode") == "probe" else config.get("epochs")
    done = (run / "done.json").exists()
    return RunRow(
        name=run.name,
        state="evaluated" if test else "trained" if done else "begun",
        epochs=max((epoch for row in story if isinstance(epoch := row.get("epoch"), int)), default=None),
        planned=planned if isinstance(planned, int) else 0,
        best_val=max(scores, default=None),
        test=test.get("value"),
        low=test.get("low"),
        high=test.get("high"),
        crops=sum(params.train.values()),
        labels=len(params.labels),
        seconds=sum(took for row in story if isinstance(took := row.get("seconds"), int | float)),
        differs=differs,
    )


def _test_figure(path: Path, name: str) -> dict[str, float | None]:
    if not path.exists():
        return {}
    wanted = pl.col("split").eq(HELD_OUT) & pl.col("label").eq("") & pl.col("group_kind").eq("")
    found = tables.read(path).filter(wanted & pl.col("name").eq(name))
    return found.select("value", "low", "high").row(0, named=True) if found.height else {}


def _decode(path: Path, kind: type[_Params]) -> _Params:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except msgspec.DecodeError as error:
        raise TraplineError(f"{path} is damaged ({error}). Remove that run's folder, or train again.") from None
