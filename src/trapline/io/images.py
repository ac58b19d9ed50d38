"""Images in and out: the only place that decodes, applies EXIF orientation, and encodes."""

import hashlib
import io
import os
import re
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from trapline.core import hashing
from trapline.core.geometry import Header
from trapline.io import atomic

ORIENTATION_TAG = 0x0112  # EXIF 2.3
UPRIGHT = {  # orientation -> what makes the stored pixels upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
Image.MAX_IMAGE_PIXELS = None  # we check the header ourselves, against the configured limit, before decoding


class ImageFailure(Exception):
    """An image that cannot be used; `str()` is the reason, in words for the failures table."""


def open_image(path: Path, max_pixels: int) -> tuple[Image.Image, Header]:
    """Open an image and read its header without decoding it.

    Raises:
        ImageFailure: Missing, empty, not an image, or more than `max_pixels`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damaged EXIF blocks warn; the pixels may still be fine
            image = Image.open(path)
    except FileNotFoundError:
        raise ImageFailure("file is missing") from None
    except UnidentifiedImageError:
        empty = path.stat().st_size == 0
        raise ImageFailure("file is empty" if empty else "not an image") from None
    except Exception as error:  # Pillow raises whatever a damaged byte leads it to
        raise ImageFailure(f"cannot be opened: {_words(error)}") from None
    width, height = image.size
    if width * height > max_pixels:  # before the EXIF block is asked for: a PNG is decoded to find it
        image.close()
        raise ImageFailure(f"too large: {width} x {height} pixels (limit {max_pixels:,})")
    try:
        orientation = _orientation(image)
        if image.format == "TIFF" and orientation >= 5:  # Pillow turns TIFFs by itself, and states the turned size
            width, height = height, width
        return image, Header(width, height, orientation)
    except Exception as error:
        image.close()
        raise ImageFailure(f"cannot be opened: {_words(error)}") from None


def read_header(data: bytes | memoryview) -> Header:
    """The header of an encoded image's bytes. Decodes nothing, so that what follows may still be damaged.

    Raises:
        ImageFailure: Empty, or not an image.
    """
    if not len(data):
        raise ImageFailure("file is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as image:
                width, height = image.size
                # With neither block at hand there is nothing to look for; a PNG would be decoded to look at its end.
                bare = image.format in ("JPEG", "PNG") and not {"exif", "xmp"} & image.info.keys()
                orientation = 1 if bare else _orientation(image)
                if image.format == "TIFF" and orientation >= 5:
                    width, height = height, width
                return Header(width, height, orientation)
    except Exception:  # Pillow raises whatever a damaged byte leads it to
        raise ImageFailure("not an image") from None


def looks_cut_short(data: bytes | memoryview) -> bool:
    """Whether a JPEG lacks the mark that ends it (ITU T.81 B.1.1.3) in its last kilobytes, where cameras also pad."""
    return bytes(data[:2]) == b"\xff\xd8" and b"\xff\xd9" not in bytes(data[-4096:])


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 where there is none or it makes no sense."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = image.getexif().get(ORIENTATION_TAG, 1)
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def decode(image: Image.Image) -> Image.Image:
    """Decode an opened image to RGB as a person sees it (EXIF orientation applied).

    Raises:
        ImageFailure: The data is truncated or damaged.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image.load()
            # Not ImageOps.exif_transpose: it writes the EXIF block anew, and fails on one that is damaged elsewhere.
            method = UPRIGHT.get(_orientation(image))
            return _to_rgb(image if method is None else image.transpose(method))
    except Exception as error:  # Pillow raises whatever a damaged byte leads it to
        raise ImageFailure(f"cannot be decoded: {_words(error)}") from None


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # 16-bit greys: Pillow's own conversion clips at 255, which would leave the image white.
        image = image.point(lambda value: value / 256).convert("L")
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA"):
        image = image.convert("RGBA")
    return image.convert("RGB")


def cut(image: Image.Image, window: tuple[int, int, int, int], max_size: int) -> Image.Image:
    """Cut a window (left, top, right, bottom in pixels; black outside) and reduce its longest side to `max_size`.

    `max_size` 0 keeps every pixel. Reduction is Pillow's antialiased bicubic.
    """
    crop = image.crop(window)
    longest = max(crop.size)
    if max_size and longest > max_size:
        scale = max_size / longest
        size = (max(round(crop.width * scale), 1), max(round(crop.height * scale), 1))
        crop = crop.resize(size, Image.Resampling.BICUBIC)
    return crop


def is_grey(image: Image.Image, tolerance: int = 6) -> bool:
    """Whether an RGB image holds no colour to speak of, as infrared frames do.

    True when at least 98% of the chroma values (Cb, Cr) of a 64 x 64 thumbnail are within `tolerance` of neutral.
    """
    chroma = image.resize((64, 64), Image.Resampling.BOX).convert("YCbCr").split()[1:]
    neutral = sum(sum(band.histogram()[128 - tolerance : 129 + tolerance]) for band in chroma)
    return neutral >= 0.98 * 2 * 64 * 64


def frame_hash(image: Image.Image) -> str | None:
    """The perceptual hash of an RGB image (hashing.frame_hash), in hexadecimal; None where it shows next to nothing."""
    small = image.reduce(max(1, min(image.size) // (2 * hashing.SIDE)))  # fast, and precise enough for 64 x 64
    grey = small.convert("L").resize((hashing.SIDE, hashing.SIDE), Image.Resampling.BOX)
    return hashing.frame_hash(np.asarray(grey, dtype=float))


def write_jpeg(image: Image.Image, path: Path, quality: int) -> str:
    """Encode an RGB image as JPEG without chroma subsampling; whole or not at all. Not synced: its part is.

    Returns:
        The digest of the file's bytes.
    """
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, subsampling=0)
    atomic.replace(path, lambda stream: stream.write(buffer.getbuffer()), sync=False)
    return hashlib.blake2b(buffer.getbuffer(), digest_size=12).hexdigest()


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
        atomic.replace(target, lambda stream: stream.write(data), sync=False)
    return hashlib.blake2b(data, digest_size=12).hexdigest()


def _words(error: Exception) -> str:
    """An exception's message without its type, line breaks or byte counts: one reason for all images that share it."""
    line = (str(error).splitlines() or [type(error).__name__])[0]
    return re.sub(r" \(\d+ bytes not processed\)", "", line)[:120]
