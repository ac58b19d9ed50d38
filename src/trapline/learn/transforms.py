"""From a crop's file to the model's input: one geometry for training, validation and prediction.

A crop that is not square is padded to a square with the model's mean colour, never squashed and never cut: the
animal keeps its shape and its tail. Then the whole square is resized (antialiased) for evaluation, and 60-100% of
its area for training.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from trapline.io.images import decode, open_image
from trapline.learn.device import seed_from

# Mild on purpose: a crop already frames its animal, and what is cut off is the animal. (The old chain's 8-100% of
# the area and quarter turns show parts of animals, lying.)
MIN_AREA = 0.6
MAX_STRETCH = 1.22  # ratio of the two sides' scales
MAX_TURN = 10.0  # degrees
JITTER = 0.25  # brightness, contrast and saturation change by at most this share
GREY = 0.2  # share of crops shown as an infrared frame would
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow's "L"
MAX_PIXELS = 200_000_000


@dataclass(frozen=True)
class Transform:
    """All that turns a crop into a model's input; part of every checkpoint.

    Args:
        image_size: Side of the input in pixels.
        mean, std: Of each channel, for pixels in 0..1.
        interpolation: `bicubic` or `bilinear`, antialiased.
        crop_mode: `pad`: see this module's first lines. The only mode so far.
    """

    image_size: int
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    interpolation: str = "bicubic"
    crop_mode: str = "pad"

    def as_dict(self) -> dict[str, object]:
        """Plain values, for checkpoints and fingerprints."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Transform":
        """The inverse of `as_dict`."""
        plain: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        return cls(**plain)

    @property
    def resample(self) -> Image.Resampling:
        """Pillow's name of the interpolation."""
        return Image.Resampling.BILINEAR if self.interpolation == "bilinear" else Image.Resampling.BICUBIC

    @property
    def fill(self) -> tuple[int, int, int]:
        """The mean colour in 0..255, which is zero to the model."""
        return tuple(round(255 * value) for value in self.mean)  # type: ignore[return-value]


def read_square(path: Path | bytes, transform: Transform) -> Image.Image:
    """Decode a crop, a file's or its bytes, and pad it to a square.

    A JPEG much larger than needed is decoded at a half, quarter or eighth of its size, as long as both sides keep
    twice the model's: training and evaluation see the same pixels, and nothing is lost that resizing would keep.

    Raises:
        ImageFailure: The file is missing or cannot be decoded.
    """
    image, _ = open_image(path, MAX_PIXELS)
    with image:
        wanted = 2 * transform.image_size
        image.draft("RGB", (min(wanted, image.width), min(wanted, image.height)))
        image = decode(image)
    if image.width == image.height:
        return image
    side = max(image.size)
    square = Image.new("RGB", (side, side), transform.fill)
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square


def load_for_evaluation(path: Path | bytes, transform: Transform) -> np.ndarray:
    """A crop as the model sees it outside training: uint8 [size, size, 3].

    Raises:
        ImageFailure: The file is missing or cannot be decoded.
    """
    size = (transform.image_size, transform.image_size)
    return np.asarray(read_square(path, transform).resize(size, transform.resample))


def load_for_training(path: Path, transform: Transform, *key: object) -> np.ndarray:
    """A crop, varied: uint8 [size, size, 3], a pure function of the file and `key`, whatever was drawn before.

    Raises:
        ImageFailure: The file is missing or cannot be decoded.
    """
    random = np.random.Generator(np.random.Philox(seed_from(*key)))
    return np.asarray(augment(read_square(path, transform), transform, random))


def augment(square: Image.Image, transform: Transform, random: np.random.Generator) -> Image.Image:
    """Random resized crop, flip, small turn, and change of light; [size, size]."""
    size, side = transform.image_size, square.width
    area, stretch = random.uniform(MIN_AREA, 1.0), math.exp(random.uniform(-1, 1) * math.log(MAX_STRETCH))
    width = min(side * math.sqrt(area * stretch), side)
    height = min(side * math.sqrt(area / stretch), side)
    left, top = random.uniform(0, 1) * (side - width), random.uniform(0, 1) * (side - height)
    box = (left, top, min(left + width, side), min(top + height, side))
    image = square.resize((size, size), transform.resample, box=box)
    if random.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    angle = random.uniform(-MAX_TURN, MAX_TURN)
    if random.random() < 0.5:
        image = image.rotate(angle, Image.Resampling.BILINEAR, fillcolor=transform.fill)
    brightness, contrast, saturation = random.uniform(1 - JITTER, 1 + JITTER, 3)
    if random.random() < GREY:
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
