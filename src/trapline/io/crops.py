"""Crops out: cut from decoded pixels, reduced, encoded; and what is noted of them on the way."""

import hashlib
import math
import os
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
from PIL import Image

from trapline.core import hashing
from trapline.core.geometry import Pixels
from trapline.io import jpeg
from trapline.io.photo import Picture
from trapline.io.places import Folder, Place

SCALE_MARGIN = 1.6  # a reduced decode must leave a crop this many times its stored size: 42 dB and more (docs/log.md)
SAMPLED_ROWS = 4  # rows looked at per pixel of a frame's small brightness


def stored_size(width: int, height: int, max_size: int) -> tuple[int, int]:
    """(width, height) of a crop whose longest side is reduced to `max_size`; 0 keeps every pixel."""
    longest = max(width, height)
    if not max_size or longest <= max_size:
        return width, height
    scale = max_size / longest
    return max(round(width * scale), 1), max(round(height * scale), 1)


def scale_for(window: Pixels, shown: Pixels, max_size: int) -> int:
    """The scale (1, 2, 4 or 8 times smaller) to decode an image at from which a crop loses nothing.

    Args:
        window, shown: geometry.crop_window and geometry.shown_part of the crop.
    """
    if not max_size or window != shown:
        return 1
    side = max(window[2] - window[0], window[3] - window[1])
    return max((scale for scale in jpeg.SCALES if side >= SCALE_MARGIN * max_size * scale), default=1)


def cut(picture: Picture, window: Pixels, shown: Pixels, max_size: int) -> np.ndarray:
    """Cut a crop: `window`, of which `shown` is of the image and the rest black, its longest side at most `max_size`.

    Reduction is antialiased and bicubic, as Pillow's.

    Returns:
        (height, width, 3) uint8; may be a view of the picture.
    """
    left, top, right, bottom = window
    size = stored_size(right - left, bottom - top, max_size)
    if picture.scale > 1:
        return _reduce_scaled(picture, window, size)
    x0, y0, x1, y1 = shown
    piece = picture.pixels[y0:y1, x0:x1]
    if window != shown:
        sheet = np.zeros((bottom - top, right - left, 3), np.uint8)
        sheet[y0 - top : y1 - top, x0 - left : x1 - left] = piece
        piece = sheet
    return _reduce(piece, size)


def _reduce(piece: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize to (width, height). libvips takes a third of Pillow's time, and agrees with it to 54 dB."""
    height, width = piece.shape[:2]
    if size == (width, height):
        return piece
    image = _vips().Image.new_from_memory(np.ascontiguousarray(piece).data, width, height, 3, "uchar")
    small = image.resize(size[0] / width, vscale=size[1] / height, kernel="cubic", gap=4).numpy()
    if small.shape[:2] != size[::-1]:  # rounding took another turn
        small = np.asarray(Image.fromarray(piece).resize(size, Image.Resampling.BICUBIC))
    return small


def _reduce_scaled(picture: Picture, window: Pixels, size: tuple[int, int]) -> np.ndarray:
    """Resize a window that need not begin at a whole pixel of the picture, which libvips cannot."""
    x0, y0, x1, y1 = (value / picture.scale for value in window)
    left, top = math.floor(x0), math.floor(y0)
    piece = picture.pixels[top : math.ceil(y1), left : math.ceil(x1)]
    box = (x0 - left, y0 - top, min(x1 - left, piece.shape[1]), min(y1 - top, piece.shape[0]))
    image = Image.fromarray(np.ascontiguousarray(piece))
    return np.asarray(image.resize(size, Image.Resampling.BICUBIC, box=box))


@cache
def _vips() -> ModuleType:
    """libvips, loaded when the first crop is reduced. Crops are made on threads of our own: it needs none."""
    import pyvips

    pyvips.concurrency_set(1)  # pyright: ignore[reportAttributeAccessIssue] (made when it is loaded)
    pyvips.cache_set_max(0)
    return pyvips


def is_grey(pixels: np.ndarray | Image.Image, tolerance: int = 6) -> bool:
    """Whether an RGB image holds no colour to speak of, as infrared frames do.

    True when at least 98% of the chroma values (Cb, Cr) of a 64 x 64 thumbnail are within `tolerance` of neutral.
    """
    rows = _some_rows(_some_rows(np.asarray(pixels), 64).transpose(1, 0, 2), 64)  # turned: it does not matter here
    chroma = Image.fromarray(rows).resize((64, 64), Image.Resampling.BOX).convert("YCbCr").split()[1:]
    neutral = sum(sum(band.histogram()[128 - tolerance : 129 + tolerance]) for band in chroma)
    return neutral >= 0.98 * 2 * 64 * 64


def hashed_rows(height: int) -> int:
    """How many rows of a frame, from the top, its hash is made of: what is decoded in any case, nearly."""
    return max(math.ceil(hashing.HASHED * height), 1)


def frame_hash(pixels: np.ndarray | Image.Image, height: int | None = None) -> str | None:
    """The perceptual hash (hashing.frame_hash) of the upper three quarters of an RGB image; None where they are flat.

    Args:
        pixels: (rows, columns, 3): the image, or at least `hashed_rows` of it.
        height: Rows of the whole image; default those of `pixels`.
    """
    array = np.asarray(pixels)
    green = array[: hashed_rows(height or len(array)), :, 1]  # as good as brightness, and a third of the work
    rows = _some_rows(green, hashing.SIDE)
    grey = Image.fromarray(rows).resize((hashing.SIDE, hashing.SIDE), Image.Resampling.BOX)
    return hashing.frame_hash(np.asarray(grey, dtype=float))


def _some_rows(pixels: np.ndarray, side: int) -> np.ndarray:
    """Evenly spaced rows, enough of them for a thumbnail of `side` x `side`."""
    return np.ascontiguousarray(pixels[:: max(len(pixels) // (SAMPLED_ROWS * side), 1)])


def write_jpeg(pixels: np.ndarray | Image.Image, place: Place, crop_id: str, quality: int) -> str:
    """Encode an RGB image as JPEG and store it; whole or not at all. Not synced: its part is.

    Returns:
        The digest of the crop's bytes.
    """
    return write(jpeg.encode(np.asarray(pixels), quality), place, crop_id)


def write(data: bytes, place: Place, crop_id: str) -> str:
    """Store an encoded crop as `write_jpeg` does; the digest of its bytes."""
    place.write(crop_id, data)
    return digest(data)


def digest(data: bytes) -> str:
    """What a crop's `checksum` is."""
    return hashlib.blake2b(data, digest_size=12).hexdigest()


def take(source: Path, target: Path) -> str:
    """Put a file that is a crop already where crops lie: a hard link, or a copy on another disk.

    Returns:
        The digest of the file's bytes, as `write_jpeg`.
    """
    data = source.read_bytes()
    beside = target.with_name(f"{target.name}.link")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        beside.unlink(missing_ok=True)
        os.link(source, beside)
        os.replace(beside, target)
        beside.unlink(missing_ok=True)  # renaming onto the same file leaves both names
    except OSError:
        return write(data, Folder(target.parent), target.name)
    return digest(data)
