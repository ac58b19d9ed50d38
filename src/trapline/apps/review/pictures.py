"""Pictures of the page: thumbnails of crops and scaled frames, made when asked for, kept for a while in memory."""

import io
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

from PIL import Image

from trapline.core import geometry
from trapline.io import images
from trapline.io.places import Folder, Place, Source

MAX_PIXELS = 200_000_000
KEPT_BYTES = 256_000_000
THUMB_PX, FRAME_PX = 240, 1600


class Pictures:
    """Encoded JPEGs, the least recently shown dropped first.

    Args:
        stored: Where crops lie. Default: at the paths that rows give.
    """

    def __init__(self, stored: Place | None = None, kept_bytes: int = KEPT_BYTES):
        self._stored = stored or Folder(Path())
        self._kept: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._bytes, self._limit, self._lock = 0, kept_bytes, threading.Lock()

    def crop(self, row: dict[str, Any]) -> bytes:
        """A thumbnail of a row's crop.

        Raises:
            ImageFailure: There is no picture; `str()` says why.
        """
        key = (f"crop {row['crop_id']}", THUMB_PX)
        return self._kept_or(key, lambda: self._make_crop(row))

    def frame(self, row: dict[str, Any]) -> bytes:
        """A row's full image, upright, its longest side at most FRAME_PX. Raises ImageFailure."""
        if row["frame_path"] is None:
            raise images.ImageFailure("the full image is not on this disk")
        path = row["frame_path"]
        return self._kept_or((f"frame {path}", FRAME_PX), lambda: _scaled(_open(Path(path))[0], FRAME_PX))

    def box(self, row: dict[str, Any]) -> tuple[float, float, float, float] | None:
        """Left, top, width, height of a row's box in fractions of the upright image; None where it cannot be told."""
        if row["frame_path"] is None or row["box_x"] is None:
            return None
        try:
            image, header = images.open_image(Path(row["frame_path"]), MAX_PIXELS)
            image.close()
            found = _resolved(row, header)
        except (images.ImageFailure, OSError, ValueError):
            return None
        return (found.x, found.y, found.w, found.h)

    def _make_crop(self, row: dict[str, Any]) -> bytes:
        if row["crop_path"] is not None:
            return _scaled(_open(self._stored.source(row["crop_path"]))[0], THUMB_PX)
        if row["frame_path"] is None:
            raise images.ImageFailure(row["failure"] or "there is no picture of this crop")
        image, header = _open(Path(row["frame_path"]))
        if row["box_x"] is not None:
            try:
                box = _resolved(row, header)
            except ValueError as error:
                raise images.ImageFailure(str(error)) from None
            side = max(box.w * image.width, box.h * image.height, 1)
            x, y = (box.x + box.w / 2) * image.width, (box.y + box.h / 2) * image.height
            left, top, side = round(x - side / 2), round(y - side / 2), round(side)
            image = image.crop((left, top, left + side, top + side))
        return _scaled(image, THUMB_PX)

    def _kept_or(self, key: tuple[str, int], make: Any) -> bytes:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        data = make()
        with self._lock:
            if key not in self._kept:
                self._kept[key] = data
                self._bytes += len(data)
            while self._bytes > self._limit and len(self._kept) > 1:
                self._bytes -= len(self._kept.popitem(last=False)[1])
        return data


def _open(path: Source) -> tuple[Image.Image, geometry.Header]:
    """An image as a person sees it, and its header."""
    image, header = images.open_image(images.read(path), MAX_PIXELS)
    with image:
        return images.decode(image), header


def _resolved(row: dict[str, Any], header: geometry.Header) -> geometry.ResolvedBox:
    stated = (row["width_px"], row["height_px"])
    return geometry.resolve(
        geometry.GivenBox(
            row["box_x"], row["box_y"], row["box_w"], row["box_h"], unit=row["unit"], frame=row["box_frame"],
            stated_px=None if None in stated else stated,
        ),
        header,
    )  # fmt: skip


def _scaled(image: Image.Image, longest: int) -> bytes:
    image.thumbnail((longest, longest), Image.Resampling.BILINEAR)
    memory = io.BytesIO()
    image.save(memory, "JPEG", quality=82)
    return memory.getvalue()
