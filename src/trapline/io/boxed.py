"""From a photograph's bytes and boxes to a model's inputs, in memory: decoded, cropped, through JPEG as training's
crops were, resized. Needs no torch: what is exported and served goes through this."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from trapline.core import geometry
from trapline.io import jpeg
from trapline.io.buffers import Buffers
from trapline.io.cutting import cutters
from trapline.io.model_input import Transform, load_for_evaluation
from trapline.io.photo import Photo

WHOLE = geometry.GivenBox(0.0, 0.0, 1.0, 1.0, unit="fraction", frame="displayed")


class CropSettings(Protocol):
    """The part of CropConfig that decides on pixels."""

    @property
    def style(self) -> str: ...
    @property
    def max_size(self) -> int: ...
    @property
    def quality(self) -> int: ...
    @property
    def truncated(self) -> str: ...
    @property
    def max_pixels(self) -> int: ...


def model_inputs(
    data: bytes,
    boxes: Sequence[geometry.GivenBox],
    crops: CropSettings,
    transform: Transform,
    buffers: Buffers,
) -> list[np.ndarray | str]:
    """The model's inputs of a photograph's boxes.

    Returns:
        uint8 [size, size, 3] per box; in place of one that cannot be had, why.

    Raises:
        ImageFailure: The photograph cannot be decoded.
    """
    return photo_inputs(Photo(data, crops.max_pixels), boxes, crops, transform, buffers)


def photo_inputs(
    photo: Photo,
    boxes: Sequence[geometry.GivenBox | str],
    crops: CropSettings,
    transform: Transform,
    buffers: Buffers,
) -> list[np.ndarray | str]:
    """The same of a photograph whose header is read; in place of a box may be why there is none."""
    made: list[np.ndarray | str] = []
    spots: dict[int, geometry.ResolvedBox] = {}
    for box in boxes:
        try:
            found = box if isinstance(box, str) else geometry.resolve(box, photo.header)
        except ValueError as error:
            found = str(error)
        if isinstance(found, geometry.ResolvedBox):
            spots[len(made)] = found
            found = ""
        made.append(found)
    keep = crops.truncated == "use"
    for cutter, group in cutters(photo, spots, crops.style, crops.max_size, buffers, keep_truncated=keep):
        for place, spot in group.items():
            try:
                stored = jpeg.encode(cutter.cut(spot), crops.quality)
            except ValueError as error:
                made[place] = str(error)
            else:
                made[place] = load_for_evaluation(stored, transform)
    return made
