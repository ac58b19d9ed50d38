"""From a photograph's bytes and boxes to a model's inputs, in memory: decoded, cropped, through JPEG as training's
crops were, resized. Needs no torch: what is exported and served goes through this."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from trapline.core import geometry
from trapline.io import jpeg
from trapline.io.buffers import Buffers
from trapline.io.cutting import cutting
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
    spots: list[geometry.ResolvedBox | str] = []
    for box in boxes:
        try:
            spots.append(box if isinstance(box, str) else geometry.resolve(box, photo.header))
        except ValueError as error:
            spots.append(str(error))
    places = [spot for spot in spots if isinstance(spot, geometry.ResolvedBox)]
    if not places:
        return [spot for spot in spots if isinstance(spot, str)]
    made: list[np.ndarray | str] = []
    keep = crops.truncated == "use"
    with cutting(photo, places, crops.style, crops.max_size, buffers, keep_truncated=keep) as cutter:
        for spot in spots:
            if isinstance(spot, str):
                made.append(spot)
                continue
            try:
                stored = jpeg.encode(cutter.cut(spot), crops.quality)
            except ValueError as error:
                made.append(str(error))
            else:
                made.append(load_for_evaluation(stored, transform))
    return made
