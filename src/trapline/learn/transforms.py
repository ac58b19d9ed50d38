"""Varied inputs for training, of crops that io/model_input.py reads; and inputs on a device."""

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from PIL import Image

from trapline.core.recipes import Augmentation
from trapline.io.model_input import Transform, load_for_evaluation, read_square
from trapline.io.places import Source
from trapline.learn.device import seed_from

__all__ = [
    "Transform",
    "augment",
    "load_for_evaluation",
    "load_for_training",
    "on_background",
    "read_square",
    "relight",
    "to_input",
]

WHOLE = 0.75  # of a crop's half width: shown as it is inside, less and less outside
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow's "L"


def load_for_training(
    path: Source,
    transform: Transform,
    how: Augmentation,
    *key: object,
    behind: Callable[[np.random.Generator], Source | None] | None = None,
) -> np.ndarray:
    """A crop, varied: uint8 [size, size, 3], a pure function of the files and `key`, whatever was drawn before.

    Args:
        behind: Names a crop to show it on, or none.

    Raises:
        ImageFailure: A file is missing or cannot be decoded.
    """
    random = np.random.Generator(np.random.Philox(seed_from(*key)))
    square = read_square(path, transform)
    other = behind(random) if behind is not None else None
    if other is not None:
        square = on_background(square, read_square(other, transform))
    return np.asarray(augment(square, transform, how, random))


def on_background(square: Image.Image, other: Image.Image) -> Image.Image:
    """A square's middle, a disc of three quarters of its width that fades out towards its edges, on another square."""
    return Image.composite(square, other.resize(square.size), _disc(square.width))


@lru_cache(maxsize=64)
def _disc(width: int) -> Image.Image:
    """How much of the middle is shown, by pixel."""
    across = np.linspace(-1, 1, width)
    far = np.hypot(across[:, None], across[None, :])
    shown = np.clip((1 - far) / (1 - WHOLE), 0, 1)
    return Image.fromarray((255 * shown).astype(np.uint8))


def augment(square: Image.Image, transform: Transform, how: Augmentation, random: np.random.Generator) -> Image.Image:
    """Random resized crop, flips, turn, and change of light; [size, size]."""
    size, side = transform.image_size, square.width
    area, stretch = random.uniform(how.min_area, 1.0), math.exp(random.uniform(-1, 1) * math.log(how.stretch))
    width = min(side * math.sqrt(area * stretch), side)
    height = min(side * math.sqrt(area / stretch), side)
    left, top = random.uniform(0, 1) * (side - width), random.uniform(0, 1) * (side - height)
    box = (left, top, min(left + width, side), min(top + height, side))
    image = square.resize((size, size), transform.resample, box=box)
    if random.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if how.upside_down and random.random() < how.upside_down:
        image = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    angle = random.uniform(-how.turn_deg, how.turn_deg)
    if random.random() < how.turn_share:
        image = image.rotate(angle, Image.Resampling.BILINEAR, fillcolor=transform.fill)
    brightness, contrast, saturation = random.uniform(1 - how.light, 1 + how.light, 3)
    if random.random() < how.grey:
        saturation = 0.0
    return relight(image, brightness, contrast, saturation)


def relight(image: Image.Image, brightness: float, contrast: float, saturation: float) -> Image.Image:
    """Brightness, contrast about the mean luminance, and saturation, each 1 for no change, as one linear map.

    Source: the three blends of PIL.ImageEnhance, composed, so that values are rounded and clipped once.
    """
    counts = image.convert("L").histogram()
    mean = sum(level * count for level, count in enumerate(counts)) / (image.width * image.height)
    gain, offset = brightness * contrast, brightness * (1 - contrast) * mean
    matrix = []
    for channel in range(3):
        row = [gain * (1 - saturation) * share for share in LUMA]
        row[channel] += gain * saturation
        matrix += [*row, offset]
    return image.convert("RGB", tuple(matrix))


def to_input(pixels: np.ndarray, transform: Transform, device: torch.device) -> torch.Tensor:
    """uint8 [n, size, size, 3] -> normalised float32 [n, 3, size, size] on `device`, channels last in memory."""
    batch = torch.from_numpy(pixels).to(device, non_blocking=True).permute(0, 3, 1, 2).float()
    mean = torch.tensor(transform.mean, device=device).view(1, 3, 1, 1) * 255
    std = torch.tensor(transform.std, device=device).view(1, 3, 1, 1) * 255
    return batch.sub_(mean).div_(std)
