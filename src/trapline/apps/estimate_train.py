"""`trapline estimate train`: what a training takes, before it begins."""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from trapline.core import cores, recipes
from trapline.core.config import TrainConfig
from trapline.core.log import Log
from trapline.core.quantities import say_size, say_time
from trapline.learn import device as devices
from trapline.learn.examples import lesson
from trapline.learn.forecast import Forecast, forecast
from trapline.project import Project
from trapline.stages.train import input_of, starting_weights


def estimate_train(project: Project, options: Mapping[str, object] | None = None) -> Forecast:
    """Train for twenty steps in a folder that is then removed, and say what the whole takes.

    Args:
        options: Fields of TrainConfig, for this call.

    Raises:
        InputError, TraplineError: As `trapline train`.
    """
    project.run(until="split")
    cfg = cast(TrainConfig, project.settings("train", options))
    crops_dir = project.storage.crops
    chosen = lesson(project.table("examples"), project.table("splits"), cfg, crops_dir, Log())
    start = starting_weights(cfg, project.layout.root)
    device = devices.resolve(cfg.device)
    project.layout.runs.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=project.layout.runs, prefix=".estimate-") as folder:
        return forecast(
            chosen.task(crops_dir, multilabel=cfg.multilabel),
            recipes.settle(cfg),
            input_of(cfg, None if start is None else start.transform),
            folder=Path(folder),
            device=device,
            threads=cores.usable_cores(),
            start=start,
        )


def lines(found: Forecast, cfg: TrainConfig, runs: Path) -> list[str]:
    """What a person is told."""
    kind = "memory of the process" if found.device == "cpu" else f"memory of {found.device}"
    rate = found.crops / found.epoch_s if found.epoch_s else 0.0
    told = [
        f"{found.crops:,} crops to train on, {found.val_crops:,} to judge by; {found.precision}, "
        f"{found.micro_batch} crops in memory at a time",
        f"{kind}: about {say_size(found.memory)}",
        f"disk: about {say_size(found.disk)}, {say_size(found.peak)} while a checkpoint is written; "
        f"{say_size(shutil.disk_usage(runs).free)} are free",
        f"time: about {say_time(found.start_s)} for the probe, then {say_time(found.epoch_s)} per epoch "
        f"({rate:,.0f} crops/s, evaluation included): {say_time(found.total_s)} for {found.epochs} epochs",
    ]
    if cfg.time_budget_s is not None:
        if found.total_s <= cfg.time_budget_s:
            told.append(f"that is within the time budget of {say_time(cfg.time_budget_s)}")
        else:
            done = int(max(cfg.time_budget_s - found.start_s, 0) // max(found.epoch_s, 1e-9))
            told.append(
                f"that is more than the time budget of {say_time(cfg.time_budget_s)}: about {done} epochs fit; "
                "training then stops cleanly, and the same command goes on"
            )
    return told
