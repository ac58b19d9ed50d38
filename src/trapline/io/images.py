"""Images in: opened, their headers read, decoded by Pillow, EXIF orientation applied.

What is cropped goes through io/photo.py, which takes this where io/jpeg.py cannot decode an image faster.
"""

import io
import re
import stat
import warnings

from PIL import Image, UnidentifiedImageError

from trapline.core.geometry import Header
from trapline.io.places import Piece, Source

ORIENTATION_TAG = 0x0112  # EXIF 2.3
EXIF_BLOCK, TAKEN_TAG, CHANGED_TAG = 0x8769, 0x9003, 0x0132
UPRIGHT = {  # orientation -> what makes the stored pixels upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
MAX_BYTES = 1_000_000_000
Image.MAX_IMAGE_PIXELS = None  # we check the header ourselves, against the configured limit, before decoding


class ImageFailure(Exception):
    """An image that cannot be used; `str()` is the reason, in words for the failures table."""


class TooLarge(ImageFailure):
    """More pixels, or bytes, than the limit."""


def read(path: Source) -> bytes:
    """The bytes of an image file, or of a piece of a place.

    Raises:
        ImageFailure: Missing, not a file, not readable, or larger than any image.
    """
    try:
        if isinstance(path, Piece):
            return path.read_bytes()
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # reading a pipe would wait for ever
            raise ImageFailure("cannot be opened: not a file")
        if found.st_size > MAX_BYTES:
            raise TooLarge(f"too large: {found.st_size:,} bytes (limit {MAX_BYTES:,})")
        return path.read_bytes()
    except FileNotFoundError:
        raise ImageFailure("file is missing") from None
    except (OSError, ValueError) as error:
        raise ImageFailure(f"cannot be opened: {getattr(error, 'strerror', None) or error}") from None


def open_image(
    source: Source | bytes, max_pixels: int, formats: tuple[str, ...] | None = None
) -> tuple[Image.Image, Header]:
    """Open an image, a file's, a piece's or its bytes, and read its header without decoding it.

    Args:
        formats: Pillow's names of those that are tried; default all.

    Raises:
        ImageFailure: Missing, empty, not an image, or (TooLarge) more than `max_pixels`.
    """
    if isinstance(source, Piece):
        source = read(source)
    if formats is not None:
        Image.init()  # Pillow finds out by itself which formats there are only where it may try all
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damaged EXIF blocks warn; the pixels may still be fine
            image = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=formats)
    except FileNotFoundError:
        raise ImageFailure("file is missing") from None
    except UnidentifiedImageError:
        size = len(source) if isinstance(source, bytes) else source.stat().st_size
        raise ImageFailure("not an image" if size else "file is empty") from None
    except Exception as error:  # Pillow raises whatever a damaged byte leads it to
        raise ImageFailure(f"cannot be opened: {_words(error)}") from None
    width, height = image.size
    if width * height > max_pixels:  # before the EXIF block is asked for: a PNG is decoded to find it
        image.close()
        raise TooLarge(f"too large: {width} x {height} pixels (limit {max_pixels:,})")
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


def taken_at(image: Image.Image) -> str | None:
    """When an opened image was taken, as its camera wrote it (EXIF's DateTimeOriginal, else DateTime), or None."""
    if image.format not in ("JPEG", "MPO", "TIFF", "WEBP"):
        return None  # a PNG would be decoded to look at its end
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exif = image.getexif()
            found = exif.get_ifd(EXIF_BLOCK).get(TAKEN_TAG) or exif.get(CHANGED_TAG)
    except Exception:  # Pillow raises whatever a damaged byte leads it to; the pixels may still be fine
        return None
    return found.strip("\x00 ") or None if isinstance(found, str) else None


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


def _words(error: Exception) -> str:
    """An exception's message without its type, line breaks or byte counts: one reason for all images that share it."""
    line = (str(error).splitlines() or [type(error).__name__])[0]
    return re.sub(r" \(\d+ bytes not processed\)", "", line)[:120]
