"""The JPEG hot path: whole, or only the rows that are wanted, or at a reduced scale. Equal to Pillow bit for bit.

A baseline JPEG stores its rows in order, and its header says how many there are. A header that says fewer makes any
decoder stop after them: that is how only the rows down to the lowest box are decoded, at the full speed of
libjpeg-turbo. Measured against the alternatives in docs/log.md.
"""

import re
import struct
from dataclasses import dataclass

import numpy as np
import simplejpeg

SCALES = (1, 2, 4, 8)  # libjpeg decodes at 1/1 to 1/8 of the size without computing the rest
MCU_PX = 16  # most rows that are stored together
FULL_COLOUR = 95  # quality from which on colour keeps its full size
_FRAMES = range(0xC0, 0xD0)  # the markers that state the size ...
_NO_FRAMES = (0xC4, 0xC8, 0xCC)  # ... but for these among them
_IN_ORDER = (0xC0, 0xC1)  # baseline and extended sequential, Huffman
_ALONE = (0x01, *range(0xD0, 0xD9))  # markers without a length
_SCAN, _END = 0xDA, b"\xff\xd9"
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # what ends a scan: neither a stuffed byte nor a restart


@dataclass(frozen=True)
class Structure:
    """What the markers before a JPEG's pixels say.

    Args:
        width_px, height_px: The stored size.
        height_at: Where in the file the height stands.
        scan_at: Where the pixels begin.
        in_order: The rows come one after another, so that decoding may stop.
    """

    width_px: int
    height_px: int
    height_at: int
    scan_at: int
    in_order: bool


def structure(data: bytes) -> Structure | None:
    """Read the markers up to the first scan; None where they are not those of a JPEG.

    Source: ITU-T T.81, annex B.
    """
    if data[:2] != b"\xff\xd8":
        return None
    at, size = 2, None
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF or marker in _ALONE:  # fill bytes, and markers that stand alone
            at += 1 if marker == 0xFF else 2
            continue
        (length,) = struct.unpack_from(">H", data, at + 2)
        if marker in _FRAMES and marker not in _NO_FRAMES and at + 10 <= len(data):
            height, width, components = struct.unpack_from(">HHB", data, at + 5)
            size = (width, height, at + 5, marker in _IN_ORDER, components)
        if marker == _SCAN:
            if size is None or at + 5 > len(data):
                return None
            width, height, height_at, in_order, components = size
            return Structure(width, height, height_at, at + 2 + length, in_order and data[at + 4] == components)
        at += 2 + length
    return None


def is_sound(data: bytes, found: Structure) -> bool:
    """Whether nothing but the mark of the end follows the pixels: no bytes are missing, and no stray markers among
    them, which end an image early. (Where there are several scans, `decode` finds out.)"""
    if not found.in_order:
        return is_whole(data, found)
    marker = _MARKER.search(data, found.scan_at)
    return marker is not None and marker[0] == _END


def is_whole(data: bytes, found: Structure) -> bool:
    """Whether the pixels are followed by the mark of their end, which cannot occur inside them."""
    return data.rfind(_END, found.scan_at) >= 0


def decoded_rows(found: Structure, rows: int) -> int:
    """How many rows are decoded where the first `rows` are wanted: up to the next block, and one more block, which
    the smoothing of colour between blocks looks at."""
    if not found.in_order:
        return found.height_px
    return min((-(-rows // MCU_PX) + 1) * MCU_PX, found.height_px)


def decoded_shape(found: Structure, rows: int, scale: int) -> tuple[int, int]:
    """(rows, columns) that `decode` gives."""
    return -(-decoded_rows(found, rows) // scale), -(-found.width_px // scale)


def decode(data: bytes, found: Structure, rows: int, scale: int, buffer: np.ndarray) -> np.ndarray:
    """Decode at least the first `rows` rows to RGB, at 1/`scale` of the size.

    Args:
        rows: Of the full size.
        scale: One of SCALES.
        buffer: Bytes to decode into, at least 3 x decoded_shape.

    Returns:
        (decoded_shape, 3) uint8, a view of `buffer`. Rows after the wanted ones are there, and the last may be wrong.

    Raises:
        ValueError: libjpeg cannot decode it. (Of a shortened image it finds bytes too many; so it is asked to be
            strict only where that cannot be, and `is_sound` is asked where it can.)
    """
    height, shape = decoded_rows(found, rows), decoded_shape(found, rows, scale)
    shortened = bytearray(data) if height < found.height_px else None
    if shortened is not None:
        struct.pack_into(">H", shortened, found.height_at, height)
    least = shape if scale > 1 else (0, 0)
    pixels = simplejpeg.decode_jpeg(
        shortened or data, "RGB", min_height=least[0], min_width=least[1], buffer=buffer, strict=not found.in_order
    )
    if pixels.shape[:2] != shape:
        raise ValueError(f"decoded to {pixels.shape[:2]} instead of {shape}")
    return pixels


def encode(pixels: np.ndarray, quality: int) -> bytes:
    """Encode (height, width, 3) uint8 RGB; with colour at half the size below FULL_COLOUR, as cameras store it."""
    colour = "444" if quality >= FULL_COLOUR else "420"
    return simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality, "RGB", colour)
