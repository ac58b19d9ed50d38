"""`trapline train --advise`: what to choose for the data and the machine at hand, and what it costs here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import polars as pl

from trapline.apps.estimate_train import estimate_train
from trapline.core.advice import NIGHT_S, Advice, Situation, advise
from trapline.core.config import TrainConfig
from trapline.core.quantities import say_size, say_time
from trapline.learn.forecast import Forecast
from trapline.project import Project


@dataclass(frozen=True)
class Advised:
    """An advice and what it rests on."""

    situation: Situation
    forecast: Forecast
    advice: Advice

    def lines(self) -> list[str]:
        """What a person is told."""
        now, cost = self.situation, self.forecast
        command = " ".join(("trapline", "train", *self.advice.options))
        return [
            f"{now.crops:,} crops at {now.places:,} places to learn from; the rarest label has {now.per_label:,}",
            f"here ({cost.device}, {say_size(cost.memory)}): the probe takes about {say_time(cost.start_s)}, "
            f"fine-tuning {say_time(cost.epoch_s)} per epoch, {say_time(cost.total_s)} for {cost.epochs} epochs",
            *self.advice.why,
            f"take: {command}",
        ]


def advise_training(project: Project, options: Mapping[str, object] | None = None) -> Advised:
    """Count what there is to learn from, time twenty steps, and say what to choose. Trains nothing.

    Args:
        options: Fields of TrainConfig, for this call; `time_budget` is how long it may take, default a night of 8 h.

    Raises:
        InputError, TraplineError: As `trapline train`.
    """
    cost = estimate_train(project, {**(options or {}), "mode": "finetune"})
    cfg = cast(TrainConfig, project.settings("train", options))
    train = project.table("splits").filter(pl.col("split") == "train")
    rows = project.table("examples").filter(~pl.col("heldback")).join(train, on="group_id", how="semi")
    situation = Situation(
        crops=cost.crops,
        places=rows["group_id"].n_unique(),
        per_label=int(rows["labels"].explode().value_counts()["count"].min() or 0),  # type: ignore[arg-type]
        start_s=cost.start_s,
        epoch_s=cost.epoch_s,
        epochs=cost.epochs,
        gpu=cost.device.startswith("cuda"),
        budget_s=cfg.time_budget_s or NIGHT_S,
    )
    return Advised(situation, cost, advise(situation))
