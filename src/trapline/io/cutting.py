"""The crops of one photograph, decoded once and no further than they need: for files of crops and for predictions."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from trapline.core import geometry
from trapline.io import crops
from trapline.io.buffers import Buffers
from trapline.io.photo import Photo, Picture


@dataclass(frozen=True)
class Cutter:
    """Cuts boxes out of a decoded photograph.

    Args:
        picture: Its pixels.
        size_px: (width, height) of the photograph as displayed.
        style, max_size: Of the crops (CropConfig).
    """

    picture: Picture
    size_px: tuple[int, int]
    style: str
    max_size: int

    def cut(self, box: geometry.ResolvedBox) -> np.ndarray:
        """The crop of a box: (height, width, 3) uint8; may be a view of the picture.

        Raises:
            ValueError: The box is not in what there is of a truncated photograph.
        """
        place = (box, *self.size_px, self.style, self.picture.within)
        window, shown = geometry.crop_window(*place), geometry.shown_part(*place)
        return crops.cut(self.picture, window, shown, self.max_size)


@contextmanager
def cutting(
    photo: Photo,
    boxes: Sequence[geometry.ResolvedBox],
    style: str,
    max_size: int,
    buffers: Buffers,
    *,
    least_rows: int = 1,
    whole: bool = False,
    keep_truncated: bool = False,
) -> Iterator[Cutter]:
    """Decode what these boxes need of a photograph, at the least scale that loses nothing, for the length of a `with`.

    Args:
        least_rows: Rows from the top that are decoded in any case.
        whole: Decode at full scale.
        keep_truncated: Take what there is of a truncated JPEG.

    Raises:
        ImageFailure: The data is truncated or damaged.
    """
    width, height = photo.header.displayed_px
    windows = [
        (geometry.crop_window(box, width, height, style), geometry.shown_part(box, width, height, style))
        for box in boxes
    ]
    rows = max([least_rows, *(shown[3] for _, shown in windows)])
    scale = crops.scale_for(windows, max_size) if photo.can_scale() and not whole else 1
    with photo.decode(rows, buffers, scale=scale, keep_truncated=keep_truncated) as picture:
        yield Cutter(picture, (width, height), style, max_size)
