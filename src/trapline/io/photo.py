"""A photograph to be cropped: its bytes, its header, and as few of its pixels as its crops need."""

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import numpy as np
from PIL import Image, ImageFile

from trapline.core.geometry import Header, Pixels, displayed_part
from trapline.io import images, jpeg
from trapline.io.buffers import Buffers
from trapline.io.images import ImageFailure

TRUNCATED = "cannot be decoded: image file is truncated"
PILLOW_BYTES = 12  # of memory per pixel while Pillow decodes and converts
PROGRESSIVE_BYTES = 6  # of memory per pixel while libjpeg collects a progressive image
LEAST_SCALED_PX = 64  # smaller images are not worth a reduced scale


@dataclass(frozen=True)
class Picture:
    """Decoded pixels as a person sees them.

    Args:
        pixels: (rows, columns, 3) uint8 RGB; the rows below what was asked for may be missing or wrong.
        scale: How much smaller than the image: 1, 2, 4 or 8.
        within: The part of the image that could be decoded, where that is not all.
    """

    pixels: np.ndarray
    scale: int = 1
    within: Pixels | None = None


class Photo:
    """An image whose header is read.

    Args:
        data: The file's bytes.
        formats: See images.open_image.

    Raises:
        ImageFailure: Empty, not an image, or more than `max_pixels`.
    """

    def __init__(self, data: bytes, max_pixels: int, formats: tuple[str, ...] | None = None):
        self._data = data
        self._image, self.header = images.open_image(data, max_pixels, formats)
        self._jpeg = self._fast()

    def _fast(self) -> jpeg.Structure | None:
        """How the JPEG is built, where io/jpeg.py decodes it as Pillow does."""
        if self._image.format not in ("JPEG", "MPO") or self._image.mode not in ("RGB", "L"):
            return None
        found = jpeg.structure(self._data)
        size = (self.header.width_px, self.header.height_px)
        return found if found is not None and (found.width_px, found.height_px) == size else None

    @property
    def image(self) -> Image.Image:
        """The opened image, for what its header says."""
        return self._image

    def can_scale(self) -> bool:
        """Whether decoding at a reduced scale saves time."""
        return self._jpeg is not None and min(self._image.size) >= LEAST_SCALED_PX

    @contextmanager
    def decode(self, rows: int, buffers: Buffers, *, scale: int = 1, keep_truncated: bool = False) -> Iterator[Picture]:
        """Decode at least the first `rows` rows of the displayed image, for the length of a `with`.

        Args:
            scale: 1, or where `can_scale` also 2, 4 or 8.
            keep_truncated: Give what there is of a truncated JPEG.

        Raises:
            ImageFailure: The data is truncated or damaged.
        """
        width, height = self.header.width_px, self.header.height_px
        rows = min(rows, height) if self.header.orientation == 1 else height
        if self._jpeg is not None and jpeg.is_sound(self._data, self._jpeg):
            shape = jpeg.decoded_shape(self._jpeg, rows, scale)
            size = 3 * shape[0] * shape[1] + (0 if self._jpeg.in_order else PROGRESSIVE_BYTES * width * height)
            with buffers.lend(size) as buffer:
                try:
                    stored = jpeg.decode(self._data, self._jpeg, rows, scale, buffer)
                except ValueError:
                    pass  # subsampling that only Pillow's interface knows, or damage that it has the words for
                else:
                    yield Picture(upright(stored, self.header), scale)
                    return
        with buffers.lend(PILLOW_BYTES * width * height):
            if self._jpeg is not None and keep_truncated and not jpeg.is_whole(self._data, self._jpeg):
                yield self._beginning()
            else:
                yield Picture(np.asarray(images.decode(self._image)))

    def _beginning(self) -> Picture:
        """What there is of a truncated JPEG: the rows that libjpeg gives before it asks for more bytes."""
        stored = None
        with contextlib.suppress(Exception):  # Pillow raises whatever a damaged byte leads it to
            with contextlib.suppress(OSError):
                self._image.load()
            cast(ImageFile.ImageFile, self._image).tile = []  # nothing is left to be loaded: what came stays
            stored = np.asarray(self._image.convert("RGB"))
        found = np.flatnonzero(stored.any(axis=(1, 2))) if stored is not None else np.zeros(0)
        if stored is None or not found.size:
            raise ImageFailure(TRUNCATED)
        raw = (0, 0, self.header.width_px, int(found[-1]) + 1)
        return Picture(upright(stored, self.header), within=displayed_part(self.header, raw))


def upright(stored: np.ndarray, header: Header) -> np.ndarray:
    """A view of stored pixels as EXIF orientation has them seen. Source: EXIF 2.3, tag 0x0112."""
    views = {
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: stored.transpose(1, 0, 2),
        6: stored[::-1].transpose(1, 0, 2),
        7: stored[::-1, ::-1].transpose(1, 0, 2),
        8: stored[:, ::-1].transpose(1, 0, 2),
    }
    return views.get(header.orientation, stored)
