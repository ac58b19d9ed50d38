"""Arms of recipes.py: recipes, and ways to train that the package does not have, as hooks into its loop."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import polars as pl
import torch
from torch.nn import functional
from torchvision.transforms import v2
from torchvision.transforms.autoaugment import RandAugment, TrivialAugmentWide, _apply_op

from backgrounds import Backgrounds
from trapline.core import recipes
from trapline.core.recipes import Augmentation, Recipe
from trapline.learn import loop
from trapline.learn.device import seed_from
from trapline.learn.step import Stepper
from trapline.learn.transforms import Transform, augment, on_background, read_square

DEFAULT = recipes.DEFAULT
FORMER = replace(DEFAULT, backgrounds=0.0)  # the default when candidates were tried
PLAIN = replace(recipes.MILD, light=0.0, turn_share=0.0, grey=0.0)  # crops and flips only


@dataclass(frozen=True)
class Arm:
    """A way to train.

    Args:
        recipe: As the package knows it.
        longer: Times the epochs of the others.
        mix: Pairs of a batch are blended, or pasted into each other, with their labels.
        changed: TrivialAugment or RandAugment in place of the recipe's turns and light.
        pasted: Share of crops whose middle is shown on a place without an animal of another location's frames.
        adjusted: The loss adds the log of each label's share to the outputs (for natural sampling).
        sampling: In which label shares crops are drawn, in the first and in the second half of the epochs.
        keep: Share of the training data, of whole places or of the bursts of every place.
    """

    recipe: Recipe = FORMER
    longer: int = 1
    mix: Literal["mixup", "cutmix"] | None = None
    changed: Literal["trivial", "rand"] | None = None
    pasted: float = 0.0
    adjusted: bool = False
    sampling: tuple[float, float] = (0.0, 0.0)  # exponents of the labels' counts: 0 balanced, 1 natural
    keep: tuple[Literal["places", "crops"], float] = ("places", 1.0)


GENTLE = replace(FORMER, lr=1e-4, backbone_lr=1.0)
ARMS: Mapping[str, Arm] = {
    "default": Arm(DEFAULT),
    "reference": Arm(recipes.REFERENCE),
    "former": Arm(),
    "gentle head": Arm(GENTLE),
    "all layers, twice the rate": Arm(replace(GENTLE, freeze=0.0, lr=2e-4)),
    "mixup": Arm(mix="mixup"),
    "cutmix": Arm(mix="cutmix"),
    "trivial augment": Arm(changed="trivial"),
    "rand augment": Arm(changed="rand"),
    "empty places behind": Arm(pasted=0.5),
    "logit adjustment": Arm(adjusted=True, sampling=(1.0, 1.0)),
    "adjusted, crops behind": Arm(DEFAULT, adjusted=True, sampling=(1.0, 1.0)),
    "adjusted, empty places behind": Arm(adjusted=True, sampling=(1.0, 1.0), pasted=0.5),
    "square root": Arm(sampling=(0.5, 0.5)),
    "two phases": Arm(sampling=(0.0, 1.0)),
    "twice the epochs": Arm(DEFAULT, longer=2),
    "most on other crops": Arm(replace(DEFAULT, backgrounds=0.8)),
    **{
        f"{name} of the {unit}{extra}": Arm(DEFAULT, keep=(unit, share), longer=longer)
        for name, share, most in (("quarter", 0.25, 4), ("half", 0.5, 2))
        for unit in ("places", "crops")
        for extra, longer in (("", most), (", few epochs", 1))
    },
}


def thinned(examples: pl.DataFrame, drawn: pl.DataFrame, arm: Arm, number: int) -> pl.DataFrame:
    """Examples, those of train reduced to the arm's share; smaller shares lie within larger ones.

    Args:
        number: Of the split; fixes the choice.
    """
    unit, share = arm.keep
    if share == 1.0:
        return examples
    train = drawn.filter(pl.col("split") == "train")["group_id"].implode()
    name = "group_id" if unit == "places" else "sequence_id"
    learnt = pl.col("group_id").is_in(train)
    units = examples.filter(learnt).select("group_id", unit=pl.col(name)).unique().sort(pl.all())
    units = units.sample(fraction=1.0, shuffle=True, seed=number)
    number_of, many = pl.int_range(pl.len()), pl.len()
    if unit == "crops":
        number_of, many = number_of.over("group_id"), many.over("group_id")
    kept = units.filter(number_of < (share * many).ceil())["unit"].implode()
    return examples.filter(~learnt | pl.col(name).is_in(kept))


def training(base: type[loop.Training], arm: Arm, backgrounds: Backgrounds | None) -> type[loop.Training]:
    """The package's loop with an arm's hooks."""

    class Training(base):
        def __init__(self, *args: Any, **options: Any):
            super().__init__(*args, **options)
            counts = np.bincount(self.task.targets, minlength=len(self.task.labels)).astype(float)
            self.counts = counts
            self.stepper.__class__ = stepper_of(arm, counts)  # its parts are the package's

        def train_epoch(self, advance: Any) -> None:
            power = arm.sampling[2 * self.now.epoch >= self.recipe.epochs]
            shares = np.where(self.counts > 0, np.maximum(self.counts, 1) ** (power - 1), 0.0)[self.task.targets]
            self.sampling = shares / shares.sum()
            super().train_epoch(advance)

        def _load(self, drawn: Any, epoch: int) -> np.ndarray:
            if arm.changed is None and not arm.pasted:
                return super()._load(drawn, epoch)
            crop_id = self.task.crop_ids[drawn.example]
            random = np.random.Generator(np.random.Philox(seed_from(self.cfg.seed, epoch, crop_id, drawn.draw)))
            square = read_square(self.task.paths[drawn.example], self.transform)
            if backgrounds is not None and random.random() < arm.pasted:
                square = on_background(square, backgrounds.other(crop_id, random))
            if arm.changed is None:
                return np.asarray(augment(square, self.transform, self.recipe.augmentation, random))
            return np.asarray(changed(arm.changed, square, self.transform, self.recipe.augmentation, random))

    return Training


def changed(
    by: Literal["trivial", "rand"], square: Any, transform: Transform, how: Augmentation, random: np.random.Generator
) -> Any:
    """One random operation of a random strength, or two of a middling one; torchvision's operations and ranges.

    Sources: Mueller and Hutter 2021 (TrivialAugment, wide); Cubuk et al. 2020 (RandAugment, N = 2, M = 9).
    """
    image: Any = augment(square, transform, replace(PLAIN, min_area=how.min_area, stretch=how.stretch), random)
    if by == "trivial":
        table, number = TrivialAugmentWide()._augmentation_space(31), 1
    else:
        table, number = RandAugment()._augmentation_space(31, (image.height, image.width)), 2
    for name in random.choice(sorted(table), size=number):
        strengths, signed = table[name]
        step = random.integers(31) if by == "trivial" else 9
        strength = float(strengths[step]) if strengths.ndim else 0.0
        strength *= -1 if signed and random.random() < 0.5 else 1
        image = _apply_op(image, str(name), strength, v2.InterpolationMode.NEAREST, list(transform.fill))
    return image


def stepper_of(arm: Arm, counts: np.ndarray) -> type[Stepper]:
    """Takes steps with mixed pairs, or with adjusted outputs."""
    if arm.mix is None and not arm.adjusted:
        return Stepper
    n = len(counts)
    mixer = {"mixup": v2.MixUp(alpha=0.2, num_classes=n), "cutmix": v2.CutMix(alpha=1.0, num_classes=n), None: None}
    mix = mixer[arm.mix]
    # A label without crops has a share of none; its output is left as it is.
    prior = torch.tensor(np.log(np.maximum(counts, 1) / counts.sum()), dtype=torch.float32)

    class Own(Stepper):
        def _accumulate(self, pixels: np.ndarray, targets: np.ndarray, of: int) -> float:
            assert self.micro_batch >= len(targets), "mixed within a batch"
            images, wanted = self.prepare(pixels), torch.as_tensor(targets, device=self.device)
            if mix is not None:
                images, wanted = mix(images, wanted)
            outputs = self.forward(images).float()
            if arm.adjusted:
                outputs = outputs + prior
            loss = functional.cross_entropy(outputs, wanted, label_smoothing=self.smoothing, reduction="sum") / of
            loss.backward()
            return loss.item()

    return Own


def views(infer: Callable[[Callable[[torch.Tensor], torch.Tensor]], np.ndarray]) -> dict[str, np.ndarray]:
    """Mean scores of several views of every crop: mirrored; and cut to its middle, 100, 85 and 70% wide.

    Args:
        infer: Scores [n, labels] of the network's inputs, changed by a function.
    """

    def middle(share: float) -> Callable[[torch.Tensor], torch.Tensor]:
        def cut(images: torch.Tensor) -> torch.Tensor:
            side = images.shape[-1]
            edge = math.floor(side * (1 - share) / 2)
            inner = images[..., edge : side - edge, edge : side - edge]
            return functional.interpolate(inner, size=(side, side), mode="bilinear", antialias=True)

        return cut

    whole, mirrored = infer(lambda images: images), infer(lambda images: images.flip(-1))
    scales = [whole, infer(middle(0.85)), infer(middle(0.7))]
    return {"flipped": (whole + mirrored) / 2, "scales": sum(scales) / 3, "both": (sum(scales) + mirrored) / 4}  # type: ignore[dict-item]
