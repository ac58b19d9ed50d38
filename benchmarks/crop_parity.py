"""Are crops what plain Pillow makes? Every real image beside the checkout, random boxes, all styles.

    uv run python benchmarks/crop_parity.py [FOLDER ...]

Prints how many crops were compared and how many equal Pillow's bit for bit at full size, and the signal-to-noise ratio
of reduced crops against Pillow's antialiased bicubic reduction of the same crop. Exits with 1 where a crop differs.
"""

import io
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from trapline.core import geometry
from trapline.io import crops, photo
from trapline.io.buffers import Buffers
from trapline.io.cutting import cutters

DATA = Path(__file__).parents[1] / ".." / "shared" / "data"
SETS = ("nasty", "burrowing_owl", "jaguar", "ena24_small", "cats_dogs", "sabah_thumbnails", "photos5", "semireal")
BOXES = 6
MAX_SIZE = 512
LIMIT = 200_000_000


def reference(image: Image.Image, box: tuple[int, int, int, int], style: str) -> Image.Image:
    """The documented geometry in plain Pillow, written anew: box is left, top, width, height."""
    x, y, w, h = box
    if style == "tight":
        return image.crop((x, y, x + w, y + h))
    side = max(w, h)
    if style == "pad":
        sheet = Image.new("RGB", (side, side))
        sheet.paste(image.crop((x, y, x + w, y + h)), ((side - w) // 2, (side - h) // 2))
        return sheet
    corner = []
    for low, size, limit in ((x, w, image.width), (y, h, image.height)):
        corner.append((limit - side) // 2 if side > limit else min(max(low - (side - size) // 2, 0), limit - side))
    return image.crop((corner[0], corner[1], corner[0] + side, corner[1] + side))


def boxes_of(width: int, height: int, chance: random.Random) -> list[tuple[int, int, int, int]]:
    """Boxes as detectors draw them: of all sizes, some at the edges, one of the whole frame now and then."""
    found = []
    for _ in range(BOXES):
        w = max(1, min(width, int(width * chance.lognormvariate(-1.6, 0.8))))
        h = max(1, min(height, int(height * chance.lognormvariate(-1.6, 0.8))))
        x = chance.choice([0, width - w, chance.randint(0, width - w), chance.randint(0, width - w)])
        y = chance.choice([0, height - h, chance.randint(0, height - h), chance.randint(0, height - h)])
        found.append((x, y, w, h))
    return [*found, (0, 0, width, height)] if chance.random() < 0.2 else found


def psnr(found: np.ndarray, wanted: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB; infinite where equal."""
    error = float(((found.astype(float) - wanted.astype(float)) ** 2).mean())
    return float("inf") if error == 0 else 10 * float(np.log10(255**2 / error))


def compare(data: bytes, chance: random.Random, max_size: int) -> Iterator[tuple[str, float, int]]:
    """(style, dB against Pillow, scale decoded at) of one image's crops."""
    source = photo.Photo(data, LIMIT)
    with Image.open(io.BytesIO(data)) as opened:
        image = ImageOps.exif_transpose(opened).convert("RGB")
    boxes = boxes_of(*image.size, chance)
    for style in geometry.STYLES:
        places = {
            number: geometry.ResolvedBox(x / image.width, y / image.height, w / image.width, h / image.height)
            for number, (x, y, w, h) in enumerate(boxes)
        }
        for cutter, group in cutters(source, places, style, max_size, Buffers(10**9)):
            for number, place in group.items():
                wanted = reference(image, boxes[number], style)
                size = crops.stored_size(*wanted.size, max_size)
                if size != wanted.size:
                    wanted = wanted.resize(size, Image.Resampling.BICUBIC)
                found = cutter.cut(place)
                assert found.shape == (wanted.height, wanted.width, 3), (found.shape, wanted.size)
                yield style, psnr(found, np.asarray(wanted)), cutter.picture.scale


def main(folders: list[Path]) -> int:
    """Compare and print; 1 where a full-size crop differs."""
    compared = equal = skipped = 0
    reduced: list[tuple[float, int]] = []
    for folder in folders:
        files = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".bmp")]
        before = (compared, equal)
        for path in files:
            data = path.read_bytes()
            try:
                found = [value for _, value, _ in compare(data, random.Random(path.name), 0)]
                small = [(v, s) for _, v, s in compare(data, random.Random(path.name), MAX_SIZE)]
            except (photo.ImageFailure, OSError) as failure:
                skipped += 1
                print(f"  {path.name}: {failure}")
                continue
            compared += len(found)
            equal += sum(value == float("inf") for value in found)
            reduced += [(value, scale) for value, scale in small if value < float("inf")]
        print(f"{folder.name:20} {len(files):5} images  {compared - before[0]:6} crops  {equal - before[1]:6} equal")
    print(f"full size: {compared} crops compared, {equal} equal to Pillow's; {skipped} images cannot be decoded")
    for scale in sorted({scale for _, scale in reduced}):
        values = [value for value, at in reduced if at == scale]
        summary = f"least {min(values):.1f} dB, median {np.median(values):.1f}"
        print(f"reduced, decoded at 1/{scale}: {len(values)} crops, {summary}")
    return int(equal < compared)


if __name__ == "__main__":
    sys.exit(main([Path(name) for name in sys.argv[1:]] or [DATA / name for name in SETS]))
