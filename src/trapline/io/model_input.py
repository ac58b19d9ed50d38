"""A model's input, from a crop's file or bytes: one geometry for training, prediction and serving; no torch.

A crop that is not square is padded to a square with the model's mean colour, never squashed and never cut: the
animal keeps its shape and its tail. Then the whole square is resized (antialiased) for evaluation; learn/transforms.py
varies it for training.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from PIL import Image

from trapline.io.images import decode, open_image
from trapline.io.places import Source

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


def read_square(path: Source | bytes, transform: Transform) -> Image.Image:
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


def load_for_evaluation(path: Source | bytes, transform: Transform) -> np.ndarray:
    """A crop as the model sees it outside training: uint8 [size, size, 3].

    Raises:
        ImageFailure: The file is missing or cannot be decoded.
    """
    size = (transform.image_size, transform.image_size)
    return np.asarray(read_square(path, transform).resize(size, transform.resample))
