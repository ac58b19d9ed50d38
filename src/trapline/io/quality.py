"""What can be measured of a crop's pixels: blur, light, and how much of it is padding.

Source of the blur: Crete et al. 2007, "The Blur Effect: Perception and Estimation with a New No-Reference Perceptual
Blur Metric": how little the picture changes when it is blurred once more.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from trapline.io import images

SIDE_PX = 256  # the longer side that is looked at
TAPS = 9  # of the blur, as in the source
PAD_LEVEL = 12  # grey levels of 255 that black padding reaches after JPEG
FLAT = 1e-6


@dataclass(frozen=True)
class Quality:
    """Measures of one crop, each of what is not padding except `padding` itself.

    Args:
        blur: 0 (sharp) to 1; null where the crop is flat or too small to tell.
        dark, bright: The 95th and 5th percentile of lightness, 0 to 1.
        padding: Share of the area that is a black border.
    """

    blur: float | None
    dark: float
    bright: float
    padding: float


def measure(path: Path, max_pixels: int) -> Quality:
    """Measures of a crop's file.

    Raises:
        ImageFailure: It cannot be read.
    """
    image, _ = images.open_image(images.read(path), max_pixels)
    image.draft("L", (SIDE_PX, SIDE_PX))
    grey = images.decode(image).convert("L")
    grey.thumbnail((SIDE_PX, SIDE_PX), Image.Resampling.BOX)
    return of_pixels(np.asarray(grey))


def of_pixels(grey: np.ndarray) -> Quality:
    """Measures of uint8 grey pixels [rows, columns]."""
    inner = _without_border(grey)
    padding = 1 - inner.size / grey.size
    if not inner.size:
        return Quality(None, 0.0, 0.0, 1.0)
    levels = inner.astype(np.float32) / 255
    bright, dark = np.percentile(levels, (5, 95))
    return Quality(_blur(levels), float(dark), float(bright), padding)


def _without_border(grey: np.ndarray) -> np.ndarray:
    """Without the rows and columns at the edges that are black throughout."""
    lit = grey > PAD_LEVEL
    rows, columns = (np.flatnonzero(lit.mean(axis=axis) > 0.02) for axis in (1, 0))
    if not len(rows) or not len(columns):
        return grey[:0]
    return grey[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _blur(levels: np.ndarray) -> float | None:
    if min(levels.shape) < 2 * TAPS:
        return None
    found = []
    for turned in (levels, levels.T):
        total = np.cumsum(np.pad(turned, ((0, 0), (TAPS // 2 + 1, TAPS // 2)), mode="edge"), axis=1, dtype=np.float64)
        again = (total[:, TAPS:] - total[:, :-TAPS]) / TAPS
        change, change_again = np.abs(np.diff(turned)), np.abs(np.diff(again))
        whole = float(change.sum())
        if whole / change.size < FLAT:
            return None
        found.append(1 - float((change - change_again).clip(0).sum()) / whole)
    return max(found)
