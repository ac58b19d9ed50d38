"""Recipes: what a training does where the options leave it open. Figures behind the choices: docs/recipes.md."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any, Literal

from trapline.core.config import TrainConfig


@dataclass(frozen=True)
class Augmentation:
    """How training crops are varied.

    Args:
        min_area: Least share of a crop's area that is shown.
        stretch: Most that the sides' scales differ, as a ratio.
        turn_share, turn_deg: Share of crops that are turned, and by how many degrees at most.
        upside_down: Share of crops shown upside down.
        light: Brightness, contrast and saturation change by at most this share.
        grey: Share of crops shown as an infrared frame would.
    """

    min_area: float
    stretch: float
    turn_share: float
    turn_deg: float
    upside_down: float
    light: float
    grey: float


@dataclass(frozen=True)
class Recipe:
    """A way to train.

    Args:
        epochs: Passes over the training crops, at most.
        lr: Peak rate of the head; `backbone_lr` is the backbone's share of it.
        weight_decay: Of AdamW (decoupled; norms and biases have none), or of RMSprop (added to every gradient).
        label_smoothing: Share of the target spread over all labels.
        head_start: As the option.
        freeze: Share of the model's depth that keeps its weights.
        backgrounds: Share of crops whose middle is shown on a crop of another place.
        patience: Epochs without a better val before it stops.
        optimizer: AdamW; or RMSprop with alpha 0.9 and momentum 0.9.
        schedule: cosine: a rise, then half a cosine to nothing. decay: times 0.97 every 2.4 epochs.
        average: Weights are evaluated and kept as their moving average.
        still: With pretrained weights, BatchNorm keeps its statistics.
        norm_momentum: Of BatchNorm statistics that move; None: the model's own.
        clip_norm: Longer gradients are shortened to this; None: never.
        best_by: On val: the last epoch of little more loss than the least is kept, or the first with the best recall.
        augmentation: How crops are varied.
    """

    epochs: int
    lr: float
    backbone_lr: float
    weight_decay: float
    label_smoothing: float
    head_start: Literal["auto", "probe", "random"]
    freeze: float
    backgrounds: float
    patience: int
    optimizer: Literal["adamw", "rmsprop"]
    schedule: Literal["cosine", "decay"]
    average: bool
    still: bool
    norm_momentum: float | None
    clip_norm: float | None
    best_by: Literal["balanced_loss", "macro_recall"]
    augmentation: Augmentation

    def options(self) -> dict[str, object]:
        """The fields that are options of `train` too."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name in OPTIONS}


OPTIONS = ("epochs", "lr", "weight_decay", "label_smoothing", "head_start", "freeze", "backgrounds", "patience")
BEFORE = {"backgrounds": 0.0}  # what trainings did before there was an option for it

# Mild on purpose: a crop already frames its animal, and what is cut off is the animal.
MILD = Augmentation(min_area=0.6, stretch=1.22, turn_share=0.5, turn_deg=10.0, upside_down=0.0, light=0.25, grey=0.2)
DEFAULT = Recipe(
    epochs=8,
    lr=1e-3,
    backbone_lr=0.1,
    weight_decay=1e-2,
    label_smoothing=0.1,
    head_start="auto",
    freeze=0.5,
    backgrounds=0.5,
    patience=4,
    optimizer="adamw",
    schedule="cosine",
    average=True,
    still=True,
    norm_momentum=None,
    clip_norm=5.0,  # a guard against single wild batches
    best_by="balanced_loss",
    augmentation=MILD,
)
# The old chain's train_classifier.py for EfficientNets, with the learning rate that its users settled on.
REFERENCE = Recipe(
    epochs=8,
    lr=3e-5,
    backbone_lr=1.0,
    weight_decay=1e-5,
    label_smoothing=0.0,
    head_start="random",
    freeze=0.0,
    backgrounds=0.0,
    patience=8,
    optimizer="rmsprop",
    schedule="decay",
    average=False,
    still=False,
    norm_momentum=0.01,
    clip_norm=None,
    best_by="macro_recall",
    augmentation=Augmentation(
        min_area=0.08, stretch=4 / 3, turn_share=1.0, turn_deg=90.0, upside_down=0.1, light=0.25, grey=0.1
    ),
)
RECIPES: Mapping[str, Recipe] = MappingProxyType({"default": DEFAULT, "reference": REFERENCE})


def of(cfg: TrainConfig) -> Recipe:
    """The recipe that options ask for: the named one, with what they say put over it."""
    asked: dict[str, Any] = {name: value for name in OPTIONS if (value := getattr(cfg, name)) is not None}
    if cfg.mode == "probe":
        asked["epochs"] = 0
    return replace(RECIPES[cfg.recipe], **asked)


def settle(cfg: TrainConfig, begun: Mapping[str, object] | None = None, places: int | None = None) -> TrainConfig:
    """The same options, with none left open that the recipe decides.

    The default's patience is half of the epochs, or the recipe's where that is more: the rate is lowered until the last
    epoch, and what an early one brought says little. The epochs are as many for few crops as for many: no gain of
    more was seen (docs/recipes.md). Crops of one place are shown as they are: there is no other background.

    Args:
        begun: Options that a training began with, which goes on: what is left open is as it was.
        places: Groups that the training crops are of, where that is known.
    """
    left = [name for name in OPTIONS if getattr(cfg, name) is None]
    former = {**BEFORE, **begun} if begun is not None else {}
    cfg = cfg.model_copy(update={name: former[name] for name in left if name in former})
    found = of(cfg)
    if cfg.backgrounds is None and places == 1:
        found = replace(found, backgrounds=0.0)
    if cfg.recipe == "default" and cfg.patience is None:
        found = replace(found, patience=max(found.patience, found.epochs // 2))
    return cfg.model_copy(update=found.options())


def in_words(cfg: TrainConfig, crops: int, places: int) -> str:
    """What a training does, of options that are settled."""
    if not cfg.epochs:
        return "recipe: the probe alone"
    epochs = "1 epoch" if cfg.epochs == 1 else f"{cfg.epochs} epochs"
    shown = f", {cfg.backgrounds:.0%} shown on other places' backgrounds" if cfg.backgrounds else ""
    of_places = "1 place" if places == 1 else f"{places:,} places"
    return f"recipe: {cfg.recipe}, {epochs} for {crops:,} crops of {of_places}{shown}, patience {cfg.patience}"
