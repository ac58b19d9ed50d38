"""Places without an animal, cut from a set's frames, to show crops on (candidates.py: `pasted`)."""

from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image

SIDE = 224
TRIES = 20


class Backgrounds:
    """One empty square per training frame where one is found.

    Args:
        rows: Of the training crops: crop_id, image_id, group_id.
        boxes, files, crops: The project's tables; boxes in pixels.
    """

    def __init__(self, rows: pl.DataFrame, boxes: pl.DataFrame, files: pl.DataFrame, crops: pl.DataFrame):
        if (boxes["unit"] != "px").any():
            raise ValueError("boxes in pixels are needed")
        random = np.random.default_rng(0)
        sides = crops.group_by("image_id").agg(pl.col("width_px").max())
        frames = rows.select("image_id", "group_id").unique("image_id", maintain_order=True).join(sides, on="image_id")
        frames = frames.join(files.select("image_id", "path"), on="image_id").sort("image_id")
        self.own = dict(rows.select("crop_id", "group_id").rows())
        self.squares: list[tuple[str, Image.Image]] = []
        for image_id, group, side, path in frames.rows():
            taken = boxes.filter(pl.col("image_id") == image_id).select("box_x", "box_y", "box_w", "box_h").to_numpy()
            if (square := empty(Path(path), taken, side, random)) is not None:
                self.squares.append((group, square))

    def other(self, crop_id: str, random: np.random.Generator) -> Image.Image:
        """A square of another group than the crop's."""
        while True:
            group, square = self.squares[random.integers(len(self.squares))]
            if group != self.own[crop_id]:
                return square


def empty(path: Path, taken: np.ndarray, side: int, random: np.random.Generator) -> Image.Image | None:
    """A square of a frame that touches no box, or None."""
    with Image.open(path) as frame:
        side = min(side, frame.width // 2, frame.height // 2)
        for _ in range(TRIES):
            x, y = int(random.integers(frame.width - side)), int(random.integers(frame.height - side))
            apart = (taken[:, 0] >= x + side) | (taken[:, 0] + taken[:, 2] <= x)
            apart |= (taken[:, 1] >= y + side) | (taken[:, 1] + taken[:, 3] <= y)
            if apart.all():
                return frame.convert("RGB").crop((x, y, x + side, y + side)).resize((SIDE, SIDE))
    return None
