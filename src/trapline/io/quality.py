"""What can be measured of a crop's pixels: blur, light, and how much of it is padding.

Source of the blur: Crete et al. 2007, "The Blur Effect: Perception and Estimation with a New No-Reference Perceptual
Blur Metric": how little the picture changes when it is blurred once more.
"""

from dataclasses import dataclass

import numpy as np
import simplejpeg
from PIL import Image

from trapline.io import images
from trapline.io.places import Source

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


def measure(path: Source, max_pixels: int) -> Quality:
    """Measures of a crop's file.

    Raises:
        ImageFailure: It cannot be read.
    """
    data = images.read(path)
    pixels = _of_jpeg(data, max_pixels)
    if pixels is None:
        image, _ = images.open_image(data, max_pixels)
        pixels = np.asarray(images.decode(image).convert("L"))
    grey = Image.fromarray(pixels)
    grey.thumbnail((SIDE_PX, SIDE_PX), Image.Resampling.BOX)
    return of_pixels(np.asarray(grey))


def _of_jpeg(data: bytes, max_pixels: int) -> np.ndarray | None:
    """Grey pixels at half, a quarter or an eighth of the size where that leaves SIDE_PX; None of what is no plain JPEG.

    Not turned upright: no measure depends on it.
    """
    try:
        high, wide, colours, _ = simplejpeg.decode_jpeg_header(data)
        height, width = int(high), int(wide)
        if height * width > max_pixels or colours not in ("Gray", "YCbCr"):
            return None
        shorter = min(height, width)
        scale = next(scale for scale in (8, 4, 2, 1) if shorter >= scale * SIDE_PX or scale == 1)
        least = (-(-height // scale), -(-width // scale)) if scale > 1 else (0, 0)
        return simplejpeg.decode_jpeg(data, "GRAY", min_height=least[0], min_width=least[1])[:, :, 0]
    except ValueError:
        return None


def of_pixels(grey: np.ndarray) -> Quality:
    """Measures of uint8 grey pixels [rows, columns]."""
    inner = _without_border(grey)
    padding = 1 - inner.size / grey.size
    if not inner.size:
        return Quality(None, 0.0, 0.0, 1.0)
    bright, dark = _percentiles(inner, (0.05, 0.95)) / 255
    return Quality(_blur(inner), float(dark), float(bright), padding)


def _percentiles(grey: np.ndarray, shares: tuple[float, ...]) -> np.ndarray:
    """The levels below which so many pixels lie, between pixels in proportion; by counting, since levels are few."""
    below = np.bincount(grey.ravel(), minlength=256).cumsum()
    place = np.array(shares) * (grey.size - 1)
    low, high = (np.searchsorted(below, at, side="right") for at in (np.floor(place), np.ceil(place)))
    return low + (high - low) * (place - np.floor(place))


def _without_border(grey: np.ndarray) -> np.ndarray:
    """Without the rows and columns at the edges that are black throughout."""
    lit = grey > PAD_LEVEL
    rows, columns = (np.flatnonzero(lit.mean(axis=axis) > 0.02) for axis in (1, 0))
    if not len(rows) or not len(columns):
        return grey[:0]
    return grey[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _blur(grey: np.ndarray) -> float | None:
    """The greater of the two axes' blur: how much of the change between neighbours is left after a mean of TAPS.

    Neighbours in the blurred picture differ by the pixel that comes in and the one that goes out, over TAPS.
    """
    if min(grey.shape) < 2 * TAPS:
        return None
    found = []
    for levels in (grey.astype(np.int16), np.ascontiguousarray(grey.T).astype(np.int16)):
        change = np.abs(levels[1:] - levels[:-1])
        edged = np.pad(levels, ((TAPS // 2, TAPS // 2), (0, 0)), mode="edge")
        change_again = np.abs(edged[TAPS:] - edged[:-TAPS])
        whole = int(change.sum(dtype=np.int64))
        if whole / change.size / 255 < FLAT:
            return None
        lost = np.maximum(TAPS * change - change_again, 0)
        found.append(1 - int(lost.sum(dtype=np.int64)) / (TAPS * whole))
    return max(found)
