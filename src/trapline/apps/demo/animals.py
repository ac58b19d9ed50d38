"""Draw one animal, person or rock as colour and alpha, from its parts."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from trapline.apps.demo import bipeds, bodies, species
from trapline.apps.demo.bodies import Part
from trapline.apps.demo.chance import stream
from trapline.apps.demo.plan import Figure

# An animal is drawn at most this many pixels long and then enlarged: close-ups are soft, and cost stays bounded.
LONGEST_PX = 380
SUPERSAMPLE = 2
PAD = 4
FUR = {
    "fox": 0.20,
    "bobcat": 0.20,
    "skunk": 0.25,
    "mouse": 0.15,
    "deer": 0.13,
    "boar": 0.30,
    "raven": 0.2,
    "person": 0.08,
}


@dataclass(frozen=True)
class Cutout:
    """Float arrays in 0..1: `rgb` (h, w, 3) unlit albedo with shading, `alpha` (h, w); `foot` is (x, y) in pixels."""

    rgb: np.ndarray
    alpha: np.ndarray
    foot: tuple[float, float]
    eyes: tuple[tuple[float, float, float], ...]  # x, y, radius in pixels


@lru_cache(maxsize=2)
def fur_noise(kind: str) -> np.ndarray:
    """Return a 768 x 768 tile in -1..1 of short streaks ("fur") or of blotches ("blotch")."""
    rng = stream("noise", kind)
    if kind == "fur":
        tile = rng.normal(size=(768, 768)).astype(np.float32)
        tile = sum(np.roll(tile, (step // 2, step), (0, 1)) for step in range(7)) / 2.6
    else:
        tile = np.zeros((768, 768), np.float32)
        for cells, weight in ((12, 0.4), (32, 0.35), (80, 0.25)):
            grain = Image.fromarray(rng.normal(size=(cells, cells)).astype(np.float32))
            tile += weight * np.asarray(grain.resize((768, 768), Image.Resampling.BICUBIC))
    return np.clip(tile / 2, -1, 1)


def _noise(kind: str, like: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a random part of a noise tile, of the shape (h, w) of `like`."""
    height, width = like.shape
    tile = fur_noise(kind)
    top, left = int(rng.integers(768 - height)), int(rng.integers(768 - width))
    return tile[top : top + height, left : left + width]


def parts_of(label: str, individual: str, pose: str, phase: float) -> list[Part]:
    """Return the body parts of one individual in its pose, in metres."""
    if label == "raven":
        return bipeds.raven(individual, pose, phase)
    if label == "person":
        return bipeds.person(individual, pose, phase)
    return bodies.quadruped(label, individual, pose, phase)


def _mask(centres: np.ndarray, radii: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Draw a chain of circles (n, 2) as one smooth limb; returns (h, w) in 0..1."""
    image = Image.new("L", (size[0] * SUPERSAMPLE, size[1] * SUPERSAMPLE))
    pen = ImageDraw.Draw(image)
    points, widths = centres * SUPERSAMPLE, np.maximum(radii * SUPERSAMPLE, 0.8)
    for (x, y), r in zip(points, widths, strict=True):
        pen.ellipse((x - r, y - r, x + r, y + r), fill=255)
    for i in range(len(points) - 1):
        step = points[i + 1] - points[i]
        norm = np.array([-step[1], step[0]]) / max(float(np.hypot(*step)), 1e-6)
        a, b = norm * widths[i], norm * widths[i + 1]
        pen.polygon([tuple(p) for p in (points[i] + a, points[i + 1] + b, points[i + 1] - b, points[i] - a)], fill=255)
    return np.asarray(image.reduce(SUPERSAMPLE), np.float32) / 255


def _blur(values: np.ndarray, radius: float) -> np.ndarray:
    image = Image.fromarray((np.clip(values, 0, 1) * 255).astype(np.uint8))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(radius)), np.float32) / 255


def _markings(label: str, name: str, centres: np.ndarray, radii: np.ndarray, mask: np.ndarray, rgb: np.ndarray,
              rng: np.random.Generator, fading: float) -> np.ndarray:  # fmt: skip
    """Add a species' stripes, spots and patches to the colour (h, w, 3) of one part."""
    height, width = mask.shape
    image = Image.new("L", (width, height))
    pen = ImageDraw.Draw(image)
    tint = (0.12, 0.1, 0.09)
    r = float(radii.max())
    if label == "skunk" and name in ("trunk", "neck", "tail"):
        tint = (0.86, 0.84, 0.8)
        broken = rng.random() < 0.4
        for rise, thick in ((0.45, 0.42), (-0.15, 0.26)):
            line = [(float(x), float(y - rise * q)) for (x, y), q in zip(centres, radii, strict=True)]
            for i in range(len(line) - 1):
                if not (broken and i % 4 == 3):
                    pen.line(line[i : i + 2], fill=255, width=max(1, round(thick * r)))
    elif label == "bobcat" and name in ("trunk", "near hind leg", "near fore leg"):
        for _ in range(int(60 * fading) + 12):
            i = int(rng.integers(len(centres)))
            x, y = centres[i] + rng.normal(0, 0.45, 2) * radii[i]
            q = float(rng.uniform(0.04, 0.1) * r)
            pen.ellipse((x - 1.5 * q, y - q, x + 1.5 * q, y + q), fill=200)
    elif label == "deer" and name == "trunk":
        tint = (0.88, 0.84, 0.78)
        x, y = centres[0]
        pen.ellipse((x - r * 0.8, y - r * 0.6, x + r * 0.35, y + r * 0.8), fill=220)
    elif label == "fox" and name == "neck":
        tint = (0.85, 0.8, 0.74)
        x, y = centres[len(centres) // 2]
        pen.ellipse((x - r, y, x + r, y + 1.6 * r), fill=220)
    elif label == "boar" and name == "trunk":
        line = [(float(x), float(y - 0.85 * q)) for (x, y), q in zip(centres, radii, strict=True)]
        pen.line(line, fill=180, width=max(1, round(0.5 * r)))
    elif label == "raven" and "wing" in name:
        tint = (0.2, 0.21, 0.26)
        for k in range(4):
            pen.line([(float(x), float(y + (k - 1.5) * 0.45 * r)) for x, y in centres], fill=110, width=1)
    else:
        return rgb
    share = (_blur(np.asarray(image, np.float32) / 255, max(0.6, 0.06 * r)) * fading)[..., None]
    return rgb * (1 - share) + np.array(tint, np.float32) * share


@dataclass(frozen=True)
class _Canvas:
    """Where parts are flattened to: pixels to the metre, and the lower left corner in metres times that."""

    scale: float
    low: np.ndarray
    rgb: np.ndarray
    alpha: np.ndarray


def _canvas(parts: list[tuple[Part, np.ndarray]], metre_px: float) -> _Canvas:
    low = np.min([np.min(c[:, :2] - part.radii[:, None], axis=0) for part, c in parts], axis=0)
    high = np.max([np.max(c[:, :2] + part.radii[:, None], axis=0) for part, c in parts], axis=0)
    scale = min(metre_px, LONGEST_PX / float((high - low).max()))
    width, height = (int(v) for v in np.ceil((high - low) * scale) + 2 * PAD)
    return _Canvas(scale, low * scale, np.zeros((height, width, 3), np.float32), np.zeros((height, width), np.float32))


def _turned(parts: list[Part], yaw: float) -> list[tuple[Part, np.ndarray]]:
    """Return the parts with their centres (n, 3) turned by `yaw` about the vertical, the farthest first."""
    turn = np.array([[np.cos(yaw), 0, -np.sin(yaw)], [0, 1, 0], [np.sin(yaw), 0, np.cos(yaw)]])
    placed = [(part, part.centres @ turn.T) for part in parts]
    return sorted(
        placed, key=lambda item: float(np.mean(item[1][:, 2])) + (0.02 if item[0].name in ("head", "muzzle") else 0)
    )


def _finish(canvas: _Canvas, metre_px: float, eyes: list[tuple[float, float, float]]) -> Cutout:
    foot = (float(-canvas.low[0] + PAD), float(canvas.alpha.shape[0] + canvas.low[1] - PAD))
    drawn = Cutout(np.clip(canvas.rgb, 0, 1), canvas.alpha, foot, tuple(eyes))
    return drawn if canvas.scale >= metre_px * 0.999 else _enlarge(drawn, metre_px / canvas.scale)


@dataclass(frozen=True)
class _Limb:
    """One part on the canvas: its window, flat centres (n, 2) and radii in the window's pixels, mask and soft mask."""

    window: tuple[slice, slice]
    flat: np.ndarray
    radii: np.ndarray
    mask: np.ndarray
    soft: np.ndarray


def _limb(part: Part, centres: np.ndarray, canvas: _Canvas, fur: np.ndarray, furry: float) -> _Limb:
    height, width = canvas.alpha.shape
    flat = np.stack(
        [
            centres[:, 0] * canvas.scale - canvas.low[0] + PAD,
            height - (centres[:, 1] * canvas.scale - canvas.low[1] + PAD),
        ],
        axis=1,
    )
    radii = part.radii * canvas.scale
    x0, y0 = np.maximum(np.floor((flat - radii[:, None]).min(axis=0)) - PAD, 0).astype(int)
    x1, y1 = np.minimum(np.ceil((flat + radii[:, None]).max(axis=0)) + PAD, (width, height)).astype(int)
    window = (slice(int(y0), int(y1)), slice(int(x0), int(x1)))
    flat = flat - (x0, y0)
    mask = _mask(flat, radii, (int(x1 - x0), int(y1 - y0)))
    soft = _blur(mask, max(0.5, 0.3 * float(radii.max())))
    mask = np.clip((_blur(mask, 0.9) + furry * 0.35 * fur[window] - 0.5) * 2.2 + 0.5, 0, 1) * (mask + soft > 0.02)
    return _Limb(window, flat, radii, mask, soft)


def _lighting(limb: _Limb, sun: tuple[float, float], fur: np.ndarray, blotch: np.ndarray, rough: float) -> np.ndarray:
    """Return the factor (h, w) by which form and texture lighten or darken a limb."""
    down, right = np.gradient(limb.soft)
    form = 1 + (right * sun[0] + down * sun[1]) * -0.6 * float(limb.radii.max()) - 0.2 * (1 - limb.soft)
    return np.clip(form + rough * fur[limb.window] + 0.12 * blotch[limb.window], 0.25, 1.7)


def cutout(figure: Figure, metre_px: float, sun: tuple[float, float]) -> Cutout:
    """Draw a figure at `metre_px` pixels to the metre, lit from the direction `sun` (x right, y down)."""
    label = figure.true_label
    rng, own = stream(figure.individual, round(figure.phase, 6), "fur"), stream(figure.individual, "pattern")
    fading = float(np.clip(1 - abs(own.normal(0, 0.45)) * species.COAT_SPREAD, 0.15, 1))
    tones = species.coat(label, figure.individual)
    placed = _turned(parts_of(label, figure.individual, figure.pose, figure.phase), figure.yaw)
    canvas = _canvas(placed, metre_px)
    fur, blotch = _noise("fur", canvas.alpha, rng), _noise("blotch", canvas.alpha, own)
    eyes: list[tuple[float, float, float]] = []
    for part, centres in placed:
        limb = _limb(part, centres, canvas, fur, 0.25 if label in ("person", "raven") else 0.6)
        colour = _colours(label, part, limb, tones)
        colour = _markings(label, part.name, limb.flat, limb.radii, limb.mask, colour, own, fading)
        dim = 0.72 if part.name.startswith("far") else 1.0
        colour *= dim * _lighting(limb, sun, fur, blotch, FUR[label])[..., None]
        cover, thick = limb.mask, float(limb.radii.max())
        alpha = canvas.alpha[limb.window]
        if part.name.startswith("near") and part.name.endswith("leg"):  # the thigh melts into the trunk
            down = np.arange(cover.shape[0], dtype=np.float32)[:, None] - float(limb.flat[0, 1])
            cover = np.maximum(cover * np.clip(0.25 + down / max(1.3 * thick, 1), 0, 1), cover * (alpha < cover))
        canvas.rgb[limb.window] += (colour - canvas.rgb[limb.window]) * cover[..., None]
        canvas.alpha[limb.window] = np.maximum(alpha, limb.mask)
        if part.name == "head" and label != "person":
            x, y = limb.flat[len(limb.flat) // 2] + (limb.window[1].start, limb.window[0].start)
            eyes.append((float(x), float(y - 0.15 * thick), max(0.6, 0.13 * thick)))
    return _finish(canvas, metre_px, eyes)


def solid(parts: list[Part], metre_px: float, yaw: float, sun: tuple[float, float], colour: tuple[float, float, float],
          rng: np.random.Generator) -> Cutout:  # fmt: skip
    """Draw parts as one rough thing of one colour: a rock or a stump."""
    placed = _turned(parts, yaw)
    canvas = _canvas(placed, metre_px)
    fur, blotch = _noise("fur", canvas.alpha, rng), _noise("blotch", canvas.alpha, rng)
    for part, centres in placed:
        limb = _limb(part, centres, canvas, blotch, 1.0)
        lit = np.array(colour, np.float32) * _lighting(limb, sun, fur, 3 * blotch, 0.2)[..., None]
        canvas.rgb[limb.window] += (lit - canvas.rgb[limb.window]) * limb.mask[..., None]
        canvas.alpha[limb.window] = np.maximum(canvas.alpha[limb.window], limb.mask)
    return _finish(canvas, metre_px, [])


def _colours(label: str, part: Part, limb: _Limb, tones: dict[str, species.Colour]) -> np.ndarray:
    """Return a part's coat (h, w, 3): darker above than below, legs and tail running from one colour to another."""
    flat, radii = limb.flat, limb.radii
    colour = np.empty((*limb.mask.shape, 3), np.float32)
    rows = np.arange(limb.mask.shape[0], dtype=np.float32)
    if part.name in ("trunk", "neck") and "back" in tones:
        spine, belly = float((flat[:, 1] - radii).min()), float((flat[:, 1] + radii).max())
        t = np.clip((rows - spine) / max(belly - spine, 1), 0, 1)
        knots = np.array([tones["back"], tones["side"], tones["side"], tones["belly"]], np.float32)
        colour[:] = np.stack([np.interp(t, (0.12, 0.4, 0.62, 0.9), knots[:, k]) for k in range(3)], axis=1)[:, None, :]
    elif part.name == "tail" and "tip" in tones:
        away = np.hypot(*(np.indices(limb.mask.shape)[::-1].astype(np.float32) - flat[-1][:, None, None]))
        near = np.clip(1.4 - away / max(float(np.hypot(*(flat[-1] - flat[0]))) * 0.35, 1), 0, 1)[..., None]
        colour[:] = np.array(tones["tail"], np.float32) * (1 - near) + np.array(tones["tip"], np.float32) * near
    elif part.name.endswith("leg"):
        t = np.clip((rows - flat[0, 1]) / max(3.5 * float(radii.max()), 1), 0, 1)[:, None]
        thigh = np.array(tones["leg" if label == "person" else "side"], np.float32)
        colour[:] = (thigh + (np.array(tones["leg"], np.float32) - thigh) * t)[:, None, :]
    else:
        colour[:] = tones[part.tone]
    return colour


def _enlarge(drawn: Cutout, factor: float) -> Cutout:
    size = (round(drawn.alpha.shape[1] * factor), round(drawn.alpha.shape[0] * factor))
    planes = [np.asarray(Image.fromarray(np.ascontiguousarray(plane)).resize(size, Image.Resampling.BICUBIC))
              for plane in (*np.moveaxis(drawn.rgb, 2, 0), drawn.alpha)]  # fmt: skip
    rgb, alpha = np.clip(np.stack(planes[:3], axis=2), 0, 1), np.clip(planes[3], 0, 1)
    return Cutout(rgb, alpha, (drawn.foot[0] * factor, drawn.foot[1] * factor),
                  tuple((x * factor, y * factor, r * factor) for x, y, r in drawn.eyes))  # fmt: skip
