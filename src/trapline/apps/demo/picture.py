"""Compose one camera-trap picture: backdrop, figures, grass, noise, the strip of text, and the JPEG's bytes."""

import io
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

from trapline.apps.demo import light as lights
from trapline.apps.demo.animals import Cutout, cutout
from trapline.apps.demo.chance import stream
from trapline.apps.demo.plan import Camera, Figure, Frame
from trapline.apps.demo.scenery import Backdrop, Ground, blades

Box = tuple[int, int, int, int]

STRIP = 0.042  # height of the text strip at the lower edge, as a fraction of the picture
FUR_GLOW = 0.22  # fur reflects infrared: dark coats are not dark at night
VISIBLE_ALPHA = 0.4
# Small animals are drawn somewhat larger than life, as if traps for them stood lower and closer.
ENLARGED = {"mouse": 1.7, "skunk": 1.15, "raven": 1.1}
# How much of the animal's legs the grass in front of it may hide, and how often a picture is blurred by movement.
COVER = 1.5
BLURRED_SHARE = 0.25
QUALITY = 85
COPY_QUALITY = 70


@dataclass(frozen=True)
class Placed:
    """A figure in its frame: the cutout, its upper left corner in pixels, and the box [x, y, w, h] in whole pixels."""

    figure: Figure
    cutout: Cutout
    left: int
    top: int
    box: Box


def place(frame: Frame, ground: Ground, width: int, height: int) -> list[Placed]:
    """Stand a frame's figures on the ground; the order is the frame's."""
    return [_stand(figure, ground, width, height) for figure in frame.figures]


def _stand(figure: Figure, ground: Ground, width: int, height: int) -> Placed:
    floor = round(height * (1 - STRIP))
    # The nearest ground in view is the strip's edge: an animal at depth 1 stands there.
    foot = ground.horizon * height + figure.depth * (floor - ground.horizon * height)
    drawn = cutout(
        figure, ground.metre * figure.depth * height * ENLARGED.get(figure.true_label, 1.0), ground.light.sun
    )
    left, top = round(figure.x * width - drawn.foot[0]), round(foot - drawn.foot[1])
    ys, xs = np.nonzero(drawn.alpha > VISIBLE_ALPHA)
    seen = (xs + left >= 0) & (xs + left < width) & (ys + top >= 0) & (ys + top < floor)
    xs, ys = xs[seen] + left, ys[seen] + top
    box = (int(xs.min()), int(ys.min()), int(xs.max() - xs.min() + 1), int(ys.max() - ys.min() + 1))
    return Placed(figure, drawn, left, top, box)


def _paste(canvas: np.ndarray, thing: Placed, frame: Frame, view: Backdrop, gain: float) -> None:
    """Blend one lit figure and its shadow into the picture (h, w, 3) or (h, w), uint8, in place."""
    height, width = canvas.shape[:2]
    alpha = thing.cutout.alpha
    h, w = alpha.shape
    x0, y0, x1, y1 = max(thing.left, 0), max(thing.top, 0), min(thing.left + w, width), min(thing.top + h, height)
    inner = (slice(y0 - thing.top, y1 - thing.top), slice(x0 - thing.left, x1 - thing.left))
    rgb, alpha = thing.cutout.rgb[inner], alpha[inner][..., None]
    depth = thing.figure.depth
    shade = view.vignette[y0:y1, x0:x1, None] * gain
    if frame.night:
        label = thing.figure.true_label
        across = 1.15 - 0.7 * (2 * thing.figure.x - 1) ** 2
        lit = lights.night(rgb, depth * across, view.ground.light, lift=FUR_GLOW if label != "raven" else 0.08)[
            ..., None
        ]
        lit = np.repeat(lit, 3, axis=2)
    else:
        lit = lights.day(rgb, depth, view.ground.light)
    _shadow(canvas, thing, 0.25 if frame.night else 0.5)
    patch = canvas[y0:y1, x0:x1].astype(np.float32)
    patch += (np.clip(lit * shade * 255, 0, 255) - patch) * alpha
    canvas[y0:y1, x0:x1] = patch.astype(np.uint8)
    if frame.night and np.cos(thing.figure.yaw + 0.5) < 0.96 and thing.figure.pose != "down":
        glow = Image.fromarray(canvas)
        pen = ImageDraw.Draw(glow)
        for eye_x, eye_y, eye in thing.cutout.eyes:
            x, y, r = eye_x + thing.left, eye_y + thing.top, eye * 0.9
            pen.ellipse((x - r, y - r, x + r, y + r), fill=(245, 245, 245))
        canvas[:] = np.asarray(glow)
    elif not frame.night:
        for x, y, eye in thing.cutout.eyes:
            a, b, r = int(x) + thing.left, int(y) + thing.top, max(1, round(eye * 0.7))
            canvas[max(b, 0) : max(b + r, 0), max(a, 0) : max(a + r, 0)] = 12


def _shadow(canvas: np.ndarray, thing: Placed, strength: float) -> None:
    w = thing.box[2]
    height, width = canvas.shape[:2]
    cx, cy = thing.left + thing.cutout.foot[0], thing.top + thing.cutout.foot[1]
    rx, ry = max(4.0, 0.55 * w), max(2.0, 0.09 * w)
    x0, x1, y0, y1 = int(max(cx - rx, 0)), int(min(cx + rx, width)), int(max(cy - ry, 0)), int(min(cy + ry, height))
    if x1 <= x0 or y1 <= y0:
        return
    yy, xx = np.mgrid[y0:y1, x0:x1].astype(np.float32)
    dark = 1 - strength * np.clip(1 - ((xx - cx) / rx) ** 2 - ((yy - cy) / ry) ** 2, 0, 1)
    canvas[y0:y1, x0:x1] = (canvas[y0:y1, x0:x1] * dark[..., None]).astype(np.uint8)


def _cover(picture: Image.Image, thing: Placed, frame: Frame, view: Backdrop, rng: np.random.Generator) -> None:
    """Draw grass in front of a figure's feet, as dense as the place's meadow."""
    x, _, w, h = thing.box
    count = int(rng.uniform(0.2, 1.4) * COVER * (0.1 + view.ground.biome.grass) * (14 + 0.35 * w))
    foot = thing.top + thing.cutout.foot[1]
    tall = (
        rng.uniform(0.2, 1, count)
        * min(h * 0.5, thing.figure.depth * picture.height * 0.13)
        * (0.3 + view.ground.biome.grass)
    )
    xs, ys = rng.uniform(x - 0.1 * w, x + 1.1 * w, count), foot + rng.uniform(0, 0.05, count) * h
    tone = np.array(view.ground.biome.blade, np.float32)[None, None] * rng.normal(0.85, 0.2, (1, count, 1)).astype(
        np.float32
    )
    depth = min(1.0, thing.figure.depth)
    lit = (
        np.repeat(lights.night(tone, depth, view.ground.light)[..., None], 3, axis=2)
        if frame.night
        else lights.day(tone, depth, view.ground.light)
    )
    fills = [(int(r), int(g), int(b)) for r, g, b in (np.clip(lit[0], 0, 1) * 255).tolist()]
    blades(ImageDraw.Draw(picture), rng, xs, ys, tall, fills, max(1, round(picture.width / 640 * depth)))


@lru_cache(maxsize=4)
def _grain(width: int, height: int, grey: bool, deviation: float) -> Image.Image:
    """Return sensor noise as an RGB picture around 128, with a standard deviation in steps of 0..255."""
    noise = _normal(width, height)[..., :1].repeat(3, axis=2) if grey else _normal(width, height)
    return Image.fromarray(np.clip(128.5 + deviation * noise, 0, 255).astype(np.uint8))


@lru_cache(maxsize=1)
def _normal(width: int, height: int) -> np.ndarray:
    return stream("grain", width, height).standard_normal((height, width, 3), dtype=np.float32)


@lru_cache(maxsize=2)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def compose(frame: Frame, camera: Camera, view: Backdrop, figures: list[Placed]) -> Image.Image:
    """Return the finished RGB picture of one frame."""
    origin = frame.copy_of or frame.image_id
    rng = stream(origin, "picture")
    picture = (view.night if frame.night else view.day).convert("RGB")
    width, height = picture.size
    canvas = np.array(picture)
    gain = float(np.exp(rng.normal(0, 0.12)))
    for thing in sorted(figures, key=lambda item: item.figure.depth):
        _paste(canvas, thing, frame, view, 1.0)
    picture = Image.fromarray(canvas)
    for thing in figures:
        _cover(picture, thing, frame, view, rng)
    warm = 0 if frame.night else float(rng.normal(0, 0.04))
    ramp = np.arange(256) * gain
    table = np.concatenate([np.clip(ramp * f, 0, 255).round() for f in (1 + warm, 1, 1 - warm)]).astype(int)
    picture = picture.point(table.tolist())
    if figures and rng.random() < BLURRED_SHARE:
        picture = _smear(picture, figures[0], rng)
    grain = _grain(width, height, frame.night, view.ground.light.noise * (1.5 if frame.night else 0.8))
    grain = ImageChops.offset(grain, int(rng.integers(width)), int(rng.integers(height)))
    picture = ImageChops.add(picture, grain, 1.0, -128)
    _strip(picture, frame, camera, rng)
    return picture


def _smear(picture: Image.Image, thing: Placed, rng: np.random.Generator) -> Image.Image:
    """Blur the surroundings of a moving figure along its path."""
    x, y, w, h = thing.box
    length = max(1, round(float(rng.uniform(0.006, 0.03)) * w))
    area = (max(x - length, 0), max(y - 2, 0), min(x + w + length, picture.width), min(y + h + 2, picture.height))
    part = np.asarray(picture.crop(area), np.float32)
    steps = np.linspace(-length, length, 5).round().astype(int)
    index = np.clip(np.arange(part.shape[1])[None, :] + steps[:, None], 0, part.shape[1] - 1)
    blurred = part[:, index].mean(axis=1)
    picture.paste(Image.fromarray(blurred.astype(np.uint8)).filter(ImageFilter.GaussianBlur(0.4)), area[:2])
    return picture


def _strip(picture: Image.Image, frame: Frame, camera: Camera, rng: np.random.Generator) -> None:
    width, height = picture.size
    top = round(height * (1 - STRIP))
    pen = ImageDraw.Draw(picture)
    pen.rectangle((0, top, width, height), fill=(0, 0, 0))
    celsius = round(float(rng.normal(9 if frame.night else 19, 4)))
    moment = frame.captured_at.strftime("%Y-%m-%d %H:%M:%S")
    text = f"{camera.make}   {moment}   {celsius}°C   {camera.name}"
    pen.text(
        (width * 0.015, top + height * STRIP * 0.12),
        text,
        fill=(235, 235, 235),
        font=_font(max(7, round(height * STRIP * 0.66))),
    )


def encode(picture: Image.Image, frame: Frame, camera: Camera) -> bytes:
    """Return the JPEG's bytes, with the moment and the camera in EXIF; a copy is compressed harder."""
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = camera.make, camera.model
    exif.get_ifd(0x8769)[0x9003] = frame.captured_at.strftime("%Y:%m:%d %H:%M:%S")
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=COPY_QUALITY if frame.copy_of else QUALITY, exif=exif)
    return buffer.getvalue()


def spoil(data: bytes, kind: str) -> bytes:
    """Return what a broken file holds instead of the picture's bytes."""
    if kind == "truncated":
        return data[: len(data) * 2 // 5]
    return {"zero_bytes": b"", "text": b"The card could not be read. Please format it.\n"}[kind]
