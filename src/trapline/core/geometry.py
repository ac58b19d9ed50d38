"""Where a box lies in the image a person sees, and which pixels its crop takes. The only place either is computed.

Boxes are fractions of the displayed image (EXIF orientation applied), origin top left, x y w h. Crops are whole
pixels of the displayed image: left, top, right, bottom, right and bottom exclusive. `docs/crop.md` has the figure.
"""

import math
from dataclasses import dataclass

# Pixel boxes travel as fractions; the way back must not turn 235.0000000001 into 236.
ROUNDING_PX = 1e-4

# EXIF orientation -> where a raw fraction (x, y) is displayed. Source: EXIF 2.3, tag 0x0112.
_DISPLAYED = {
    1: lambda x, y: (x, y),
    2: lambda x, y: (1 - x, y),
    3: lambda x, y: (1 - x, 1 - y),
    4: lambda x, y: (x, 1 - y),
    5: lambda x, y: (y, x),
    6: lambda x, y: (1 - y, x),
    7: lambda x, y: (1 - y, 1 - x),
    8: lambda x, y: (y, 1 - x),
}


@dataclass(frozen=True)
class Header:
    """What an image file's header says: the stored (raw) size in pixels and the EXIF orientation, 1 to 8."""

    width_px: int
    height_px: int
    orientation: int = 1

    @property
    def transposed(self) -> bool:
        """Whether displaying swaps width and height."""
        return self.orientation >= 5

    @property
    def displayed_px(self) -> tuple[int, int]:
        """(width, height) as a person sees the image."""
        return (self.height_px, self.width_px) if self.transposed else (self.width_px, self.height_px)


@dataclass(frozen=True)
class GivenBox:
    """A box as its source gives it.

    Args:
        x, y, w, h: Left, top, width, height in `unit`.
        unit: "fraction" or "px". Never guessed.
        frame: "displayed", "raw" or "auto": whether orientation is already applied in the coordinates.
        stated_px: (width, height) of the image as the source states it, or None.
    """

    x: float
    y: float
    w: float
    h: float
    unit: str
    frame: str
    stated_px: tuple[int, int] | None = None


@dataclass(frozen=True)
class ResolvedBox:
    """A box in fractions of the displayed image, clipped to it; `frame_unclear` when `auto` could not tell."""

    x: float
    y: float
    w: float
    h: float
    frame_unclear: bool = False


def resolve(box: GivenBox, header: Header) -> ResolvedBox:
    """Turn a box as given into fractions of the displayed image.

    `auto` compares the stated size with the raw and the displayed size. Where they do not differ (no orientation,
    or one that keeps the shape) it takes `displayed`, and says so when that could matter.

    Raises:
        ValueError: The box is not finite, has no area, or does not touch the image.
    """
    if not all(math.isfinite(value) for value in (box.x, box.y, box.w, box.h)):
        raise ValueError("box holds a value that is not a number")
    if box.w <= 0 or box.h <= 0:
        raise ValueError("box has no area")
    frame, unclear = _frame(box, header)
    x0, y0, x1, y1 = box.x, box.y, box.x + box.w, box.y + box.h
    if box.unit == "px":
        raw_px = (header.width_px, header.height_px)
        width, height = box.stated_px or (raw_px if frame == "raw" else header.displayed_px)
        x0, x1, y0, y1 = x0 / width, x1 / width, y0 / height, y1 / height
    elif box.unit != "fraction":
        raise ValueError(f"box unit {box.unit!r} is neither fraction nor px")
    if frame == "raw":
        (xa, ya), (xb, yb) = (_DISPLAYED[header.orientation](x, y) for x, y in ((x0, y0), (x1, y1)))
        x0, x1, y0, y1 = min(xa, xb), max(xa, xb), min(ya, yb), max(ya, yb)
    x0, y0, x1, y1 = max(x0, 0.0), max(y0, 0.0), min(x1, 1.0), min(y1, 1.0)
    if x1 <= x0 or y1 <= y0:
        raise ValueError("box lies outside the image")
    return ResolvedBox(x0, y0, x1 - x0, y1 - y0, unclear)


def _frame(box: GivenBox, header: Header) -> tuple[str, bool]:
    if box.frame != "auto" or header.orientation == 1:
        return (box.frame if box.frame == "raw" else "displayed"), False
    raw_px = (header.width_px, header.height_px)
    if box.stated_px is None or raw_px == header.displayed_px or box.stated_px not in (raw_px, header.displayed_px):
        return "displayed", True
    return ("raw" if box.stated_px == raw_px else "displayed"), False


STYLES = ("square", "tight", "pad")

Pixels = tuple[int, int, int, int]
"""left, top, right, bottom in pixels of the displayed image; right and bottom exclusive."""


def box_pixels(box: ResolvedBox, width_px: int, height_px: int) -> Pixels:
    """The box grown to whole pixels of a displayed image of `width_px` x `height_px`; at least one pixel."""
    left = min(max(math.floor(box.x * width_px + ROUNDING_PX), 0), width_px - 1)
    top = min(max(math.floor(box.y * height_px + ROUNDING_PX), 0), height_px - 1)
    right = min(max(math.ceil((box.x + box.w) * width_px - ROUNDING_PX), left + 1), width_px)
    bottom = min(max(math.ceil((box.y + box.h) * height_px - ROUNDING_PX), top + 1), height_px)
    return left, top, right, bottom


def crop_window(
    box: ResolvedBox, width_px: int, height_px: int, style: str = "square", within: Pixels | None = None
) -> Pixels:
    """The pixels that a crop of a displayed image of `width_px` x `height_px` spans. docs/crop.md has the figure.

    `tight` is the box grown to whole pixels. `square` has the longer side of that as its side, is centred on the
    box, and is moved inside the image; only where the image itself is too small does it reach beyond, evenly on
    both sides, and is filled with black there. `pad` is centred on the box likewise, but not moved: it shows the
    tight crop alone, and black around it. The box is always inside its crop.

    Args:
        within: The part of the image that there is (of a truncated one); default all of it.

    Returns:
        (left, top, right, bottom); outside 0..width, 0..height where black is to be filled in.

    Raises:
        ValueError: The box is not inside `within`.
    """
    if style not in STYLES:
        raise ValueError(f"crop style {style!r} is none of {', '.join(STYLES)}")
    left, top, right, bottom = box_pixels(box, width_px, height_px)
    low_x, low_y, high_x, high_y = within or (0, 0, width_px, height_px)
    if left < low_x or top < low_y or right > high_x or bottom > high_y:
        raise ValueError("image file is truncated, and the box is not in what there is of it")
    if style == "tight":
        return left, top, right, bottom
    side = max(right - left, bottom - top)
    if style == "pad":
        left, top = left - (side - (right - left)) // 2, top - (side - (bottom - top)) // 2
        return left, top, left + side, top + side
    left, right = _place(left, right, side, low_x, high_x)
    top, bottom = _place(top, bottom, side, low_y, high_y)
    return left, top, right, bottom


def shown_part(
    box: ResolvedBox, width_px: int, height_px: int, style: str = "square", within: Pixels | None = None
) -> Pixels:
    """The part of `crop_window` that shows the image; the rest of it is black. Takes and raises the same."""
    left, top, right, bottom = crop_window(box, width_px, height_px, "tight" if style == "pad" else style, within)
    low_x, low_y, high_x, high_y = within or (0, 0, width_px, height_px)
    return max(left, low_x), max(top, low_y), min(right, high_x), min(bottom, high_y)


def _place(low: int, high: int, side: int, begin: int, end: int) -> tuple[int, int]:
    """Centre `side` pixels on low..high and move them inside begin..end, or centre them on that if they are more."""
    if side > end - begin:
        start = begin + (end - begin - side) // 2
    else:
        start = min(max(low - (side - (high - low)) // 2, begin), end - side)
    return start, start + side


def displayed_part(header: Header, raw: Pixels) -> Pixels:
    """Where a rectangle of the stored pixels is displayed."""
    left, top, right, bottom = raw
    width, height = header.width_px, header.height_px
    turn = _DISPLAYED[header.orientation]
    corners = [turn(x / width, y / height) for x, y in ((left, top), (right, bottom))]
    shown_width, shown_height = header.displayed_px
    xs, ys = sorted(round(x * shown_width) for x, _ in corners), sorted(round(y * shown_height) for _, y in corners)
    return xs[0], ys[0], xs[1], ys[1]
