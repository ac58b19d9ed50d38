"""The crops of one photograph, decoded no further than they need: for files of crops and for predictions.

A crop depends on its photograph and its box alone, never on what other boxes the photograph has: each is cut from the
photograph decoded at its own scale, so that a box asked for by itself is answered as it is among others.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
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


def cutters(
    photo: Photo,
    boxes: Mapping[int, geometry.ResolvedBox],
    style: str,
    max_size: int,
    buffers: Buffers,
    *,
    least_rows: int = 1,
    whole: bool = False,
    keep_truncated: bool = False,
) -> Iterator[tuple[Cutter, Mapping[int, geometry.ResolvedBox]]]:
    """Decode what these boxes need of a photograph, once for every scale that one of them is cut at.

    Args:
        boxes: By any number.
        least_rows: Rows from the top that the first picture has in any case.
        whole: Decode at full scale.
        keep_truncated: Take what there is of a truncated JPEG.

    Yields:
        A cutter and those of the boxes to cut with it, the largest picture first; good until the next is asked for.

    Raises:
        ImageFailure: The data is truncated or damaged.
    """
    width, height = photo.header.displayed_px
    scaled = photo.can_scale() and not whole
    by_scale: defaultdict[int, dict[int, geometry.ResolvedBox]] = defaultdict(dict)
    lowest: defaultdict[int, int] = defaultdict(int)
    for name, box in boxes.items():
        window, shown = (find(box, width, height, style) for find in (geometry.crop_window, geometry.shown_part))
        scale = crops.scale_for(window, shown, max_size) if scaled else 1
        by_scale[scale][name] = box
        lowest[scale] = max(lowest[scale], shown[3])
    for turn, scale in enumerate(sorted(by_scale)):
        rows = lowest[scale] if turn else max(lowest[scale], least_rows)
        with photo.decode(rows, buffers, scale=scale, keep_truncated=keep_truncated) as picture:
            yield Cutter(picture, (width, height), style, max_size), by_scale[scale]
