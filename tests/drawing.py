"""Images whose name states their geometry.

`320x200_red_40x30_at_100_60_exif6.png` is seen as 320 x 200 pixels with a red rectangle of 40 x 30 at (100, 60) on
grey, and is stored turned, with EXIF orientation 6.
"""

import re
from pathlib import Path

from PIL import Image, ImageChops, ImageColor, ImageOps

GROUND = (96, 104, 96)
# What turns a picture into the stored pixels of which an EXIF orientation makes that picture again.
STORED_BY = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
RECTANGLE = re.compile(r"_([a-z]+)_(\d+)x(\d+)_at_(\d+)_(\d+)")


def picture(name: str) -> Image.Image:
    """What a person sees of the image of that name."""
    width, height = map(int, re.findall(r"(\d+)x(\d+)", name)[0])
    image = Image.new("RGB", (width, height), GROUND)
    for colour, w, h, x, y in RECTANGLE.findall(name):
        image.paste(colour, (int(x), int(y), int(x) + int(w), int(y) + int(h)))
    return image


def draw(folder: Path, name: str, mode: str = "RGB", **save: object) -> Path:
    """Store the image that `name` describes below `folder`; `save` goes to Pillow."""
    image = picture(name)
    found = re.search(r"_exif(\d)", name)
    orientation = int(found[1]) if found else 1
    stored = image.transpose(STORED_BY[orientation]) if orientation in STORED_BY else image
    exif = Image.Exif()
    if found:
        exif[0x0112] = orientation
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jpg":
        save = {"quality": 100, "subsampling": 0, **save}
    stored.convert(mode).save(path, exif=exif, **save)  # pyright: ignore[reportArgumentType]
    with Image.open(path) as again:  # the drawing itself must be right, by Pillow's own reading
        assert ImageOps.exif_transpose(again).size == image.size
    return path


def stored_box(name: str, colour: str) -> tuple[int, int, int, int]:
    """x y w h of a rectangle in the stored pixels, found by looking for its colour there."""
    found = re.search(r"_exif(\d)", name)
    image = picture(name)
    orientation = int(found[1]) if found else 1
    stored = image.transpose(STORED_BY[orientation]) if orientation in STORED_BY else image
    painted = ImageChops.difference(stored, Image.new("RGB", stored.size, colour)).convert("L").point(lambda v: v == 0)
    left, top, right, bottom = painted.getbbox() or (0, 0, 0, 0)
    return left, top, right - left, bottom - top


def seen_box(name: str, colour: str) -> tuple[int, int, int, int]:
    """x y w h of a rectangle in the picture as it is seen, as the name states it."""
    for found, w, h, x, y in RECTANGLE.findall(name):
        if found == colour:
            return int(x), int(y), int(w), int(h)
    raise AssertionError(f"no {colour} in {name}")


def is_all(image: Image.Image, colour: str, tolerance: int = 0) -> bool:
    """Whether every pixel is of that colour."""
    wanted = ImageColor.getrgb(colour)[:3]
    return all(
        low >= value - tolerance and high <= value + tolerance
        for (low, high), value in zip(image.convert("RGB").getextrema(), wanted, strict=True)  # pyright: ignore
    )
