"""Draw the place in front of one camera, once by day and once under infrared flash."""

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from trapline.apps.demo import light as lights
from trapline.apps.demo.animals import fur_noise, parts_of, solid
from trapline.apps.demo.biomes import BIOMES, Biome, Colour
from trapline.apps.demo.bodies import Part
from trapline.apps.demo.chance import stream
from trapline.apps.demo.light import Light
from trapline.apps.demo.plan import SHARES, Camera

# Rocks and stumps of an animal's outline per camera: clutter that features of a crop must see through.
N_LOOKALIKES = 3


@dataclass(frozen=True)
class Ground:
    """Where things stand. `horizon` and `metre` (a metre's length at the lower edge) are fractions of the height."""

    biome: Biome
    light: Light
    horizon: float
    metre: float
    shift: float


@dataclass(frozen=True)
class Backdrop:
    """One view: pictures by day and by night, and the lens's shading (h, w)."""

    ground: Ground
    day: Image.Image
    night: Image.Image
    vignette: np.ndarray


def ground_of(camera: Camera, deployment: int) -> Ground:
    """Return the lie of the land of one deployment; cheap, no pixel is drawn."""
    rng = stream(camera.key, "place")
    biome = BIOMES[int(rng.integers(len(BIOMES)))]
    jitter = rng.normal(1, 0.07, 3)
    soil, leaf = (tuple(float(v) for v in np.clip(np.array(c) * jitter, 0, 1)) for c in (biome.soil, biome.leaf))
    biome = replace(biome, soil=(soil[0], soil[1], soil[2]), leaf=(leaf[0], leaf[1], leaf[2]))
    shift, rise = camera.view[deployment]
    horizon = float(rng.choice([0.05, 0.22, 0.36], p=[0.3, 0.4, 0.3]) + rng.uniform(-0.05, 0.05)) + rise
    return Ground(biome, lights.light_of(camera.key), max(horizon, 0.0), float(rng.uniform(0.46, 0.66)), shift)


def _blobs(noise_key: str, width: int, height: int, cells: float) -> np.ndarray:
    rng = stream(noise_key, cells)
    grain = rng.normal(size=(max(2, round(cells * height / width)), max(2, round(cells)))).astype(np.float32)
    return np.asarray(Image.fromarray(grain).resize((width, height), Image.Resampling.BICUBIC))


def _soil(key: str, biome: Biome, width: int, height: int, top: int, shift: float) -> np.ndarray:
    """Return soil (h - top, w, 3) with texture that shrinks towards the horizon."""
    rows = np.arange(top, height, dtype=np.float32)
    depth = np.clip((rows - top) / (height - top), 0.03, 1)
    far = 1 / depth
    across = (np.arange(width, dtype=np.float32)[None, :] / width - 0.5 + shift) * far[:, None]
    fine, coarse = fur_noise("fur"), fur_noise("blotch")
    start = stream(key, "ground").integers(768, size=4)
    u, v = (across * 420 + start[0]).astype(np.int32) % 768, ((far * 300)[:, None] + start[1]).astype(np.int32) % 768
    value = 0.55 * coarse[v, u]
    u, v = (across * 1300 + start[2]).astype(np.int32) % 768, ((far * 900)[:, None] + start[3]).astype(np.int32) % 768
    value = value + 0.5 * fine[v, u] * np.clip(depth * 2, 0.3, 1)[:, None]
    value = np.clip(0.5 + value, 0, 1)[..., None]
    soil = (
        np.array(biome.soil_dark, np.float32)
        + (np.array(biome.soil, np.float32) - np.array(biome.soil_dark, np.float32)) * value
    )
    return soil * (1 + 0.25 * _blobs(key, width, height - top, 5))[..., None]


def _tint(colour: Colour, factor: float) -> tuple[int, int, int]:
    red, green, blue = (int(min(max(255 * part * factor, 0), 255)) for part in colour)
    return red, green, blue


def _hills(pen: ImageDraw.ImageDraw, key: str, biome: Biome, width: int, horizon: float, shift: float) -> None:
    rng = stream(key, "hills")
    for layer in range(int(rng.integers(1, 4)), 0, -1):
        waves = [
            (rng.uniform(0.02, 0.08) / (k + 1), rng.uniform(1, 3) * (k + 1), rng.uniform(0, 6.3)) for k in range(6)
        ]
        xs = np.arange(0, width + 8, max(2, width // 160))
        rise = np.full(len(xs), 0.03 * layer)
        for a, f, p in waves:
            rise += a * (1 + np.sin(6.3 * f * (xs / width + shift * 0.4) + p))
        line = horizon - rise * width * 0.4
        fade = 0.25 * layer
        tone = tuple(part + (0.75 - part) * fade for part in biome.hills)
        pen.polygon(
            [(0, horizon + 4), *zip(xs.tolist(), line.tolist(), strict=True), (width, horizon + 4)],
            fill=_tint((tone[0], tone[1], tone[2]), 1),
        )


def _leaves(
    pen: ImageDraw.ImageDraw,
    rng: np.random.Generator,
    colour: Colour,
    x: float,
    y: float,
    rx: float,
    ry: float,
    count: int,
) -> None:
    """Fill an ellipse around (x, y) with leaf dots, dark below and behind, light above and in front."""
    angle, reach = rng.uniform(0, 2 * np.pi, count), np.sqrt(rng.uniform(0, 1, count))
    px, py = x + np.cos(angle) * reach * rx, y + np.sin(angle) * reach * ry
    size = rng.uniform(0.035, 0.085, count) * (rx + ry) * 0.5 + 0.8
    shade = 0.55 + 0.5 * np.arange(count) / count - 0.35 * (py - y) / max(ry, 1) + rng.normal(0, 0.12, count)
    for a, b, r, s in zip(px.tolist(), py.tolist(), size.tolist(), shade.tolist(), strict=True):
        pen.ellipse((a - r, b - 0.7 * r, a + r, b + 0.7 * r), fill=_tint(colour, s))


def _tree(
    pen: ImageDraw.ImageDraw, rng: np.random.Generator, biome: Biome, x: float, foot: float, scale: float
) -> None:
    thick, lean = scale * rng.uniform(0.12, 0.34), rng.normal(0, 0.05)
    tall = scale * rng.uniform(4, 7)
    steps = 9
    line = [(x + lean * tall * t + rng.normal(0, thick * 0.12), foot - tall * t) for t in np.linspace(0, 1, steps)]
    edges = [thick * (1.0 - 0.6 * t) + (thick * 0.5 if t == 0 else 0) for t in np.linspace(0, 1, steps)]
    left = [(px - e, py) for (px, py), e in zip(line, edges, strict=True)]
    right = [(px + e, py) for (px, py), e in zip(line, edges, strict=True)]
    pen.polygon(left + right[::-1], fill=_tint(biome.trunk, 0.85))
    for _ in range(int(26 + thick)):  # bark
        i = int(rng.integers(steps - 1))
        offset = rng.uniform(-0.9, 0.9)
        a, b = line[i], line[i + 1]
        pen.line(
            (a[0] + offset * edges[i + 1], a[1], b[0] + offset * edges[i + 1], b[1]),
            fill=_tint(biome.trunk, float(rng.uniform(0.5, 1.15) + 0.25 * offset)),
            width=max(1, int(thick * 0.12)),
        )
    for _ in range(int(rng.integers(3, 7))):
        at = line[int(rng.integers(steps // 2, steps))]
        spread = scale * rng.uniform(0.6, 1.3)
        _leaves(pen, rng, biome.leaf, at[0] + rng.normal(0, spread * 0.7), at[1], spread, spread * 0.6, 150)


def blades(
    pen: ImageDraw.ImageDraw,
    rng: np.random.Generator,
    xs: np.ndarray,
    ys: np.ndarray,
    tall: np.ndarray,
    fills: list[tuple[int, int, int]],
    width: int,
) -> None:
    """Draw one bent blade of grass from each (x, y), `tall` pixels high."""
    bend = rng.normal(0, 0.35, len(xs)) * tall
    for x, y, h, b, fill in zip(xs.tolist(), ys.tolist(), tall.tolist(), bend.tolist(), fills, strict=True):
        pen.line((x, y, x + 0.3 * b, y - 0.6 * h, x + b, y - h), fill=fill, width=width)


def _meadow(
    pen: ImageDraw.ImageDraw, rng: np.random.Generator, biome: Biome, width: int, height: int, horizon: float
) -> None:
    count = int(3200 * (0.15 + biome.grass))
    depth = np.sort(rng.uniform(0.03, 1, count) ** 1.3)
    xs = rng.uniform(-0.05, 1.05, count) * width
    patch = np.sin(xs / width * 9 + depth * 5) * 0.5 + 0.6
    tall = depth * height * rng.uniform(0.02, 0.085, count) * (0.4 + biome.grass) * np.clip(patch, 0.3, 1.2)
    fills = [_tint(biome.blade, s) for s in rng.normal(0.9, 0.22, count).tolist()]
    blades(pen, rng, xs, horizon + depth * (height - horizon), tall, fills, max(1, width // 640))


def _boulders(picture: Image.Image, key: str, ground: Ground, horizon: float) -> None:
    """Paste rocks and stumps, some with an animal's outline, into the picture."""
    width, height = picture.size
    rng = stream(key, "boulders")
    biome = ground.biome
    depths = np.sort(rng.uniform(0.08, 0.95, biome.n_rocks + N_LOOKALIKES))
    for number, depth in enumerate(depths.tolist()):
        tone = np.array((biome.rock, biome.rock, biome.trunk, biome.soil_dark)[int(rng.integers(4))]) * rng.uniform(
            0.7, 1.15
        )
        if number % (1 + biome.n_rocks // max(N_LOOKALIKES, 1)) == 0:
            label = str(rng.choice(list(SHARES)))
            parts = [
                p for p in parts_of(label, f"{key}:{number}", "crouch", 0.5) if p.name in ("trunk", "neck", "head")
            ]
            metres = {"mouse": 3.0, "deer": 0.6, "boar": 0.7}.get(label, 1.0)
        else:
            spots = rng.normal(0, 0.16, (5, 3)) * [1.6, 0.6, 1]
            parts = [Part("trunk", spots + np.array((0, 0.12, 0)), rng.uniform(0.08, 0.24, 5), "side")]
            metres = 1.0
        scale = ground.metre * depth * height * metres * rng.uniform(0.6, 1.5)
        shape = solid(
            parts,
            scale,
            float(rng.uniform(0, 6.3)),
            ground.light.sun,
            (float(tone[0]), float(tone[1]), float(tone[2])),
            rng,
        )
        left = round(rng.uniform(0.0, 1.0) * width - shape.foot[0] - ground.shift * (0.5 + depth) * width)
        top = round(horizon + depth * (height - horizon) - shape.alpha.shape[0] * 0.8)
        rgb = Image.fromarray((shape.rgb * 255).astype(np.uint8))
        alpha = shape.alpha * np.clip(
            (shape.alpha.shape[0] * 0.85 - np.arange(shape.alpha.shape[0]))[:, None] / (0.08 * shape.alpha.shape[0]),
            0,
            1,
        )
        picture.paste(rgb, (left, top), Image.fromarray((alpha * 255).astype(np.uint8)))


def backdrop(camera: Camera, deployment: int, width: int, height: int) -> Backdrop:
    """Draw the view of one deployment of a camera."""
    key = camera.key
    ground = ground_of(camera, deployment)
    biome, light, shift = ground.biome, ground.light, ground.shift
    horizon = ground.horizon * height
    top = int(horizon)
    canvas = np.zeros((height, width, 3), np.float32)
    fade = np.linspace(0, 1, max(top, 1), dtype=np.float32)[:top, None, None]
    canvas[:top] = (
        np.array([0.55, 0.68, 0.85], np.float32) * (1 - fade) + np.array([0.86, 0.89, 0.92], np.float32) * fade
    )
    canvas[top:] = _soil(key, biome, width, height, top, shift)
    picture = Image.fromarray((np.clip(canvas, 0, 1) * 255).astype(np.uint8))
    pen = ImageDraw.Draw(picture)
    _hills(pen, key, biome, width, horizon, shift)
    rng = stream(key, "plants")
    plants = [(float(d), "tree") for d in rng.uniform(0.04, 0.6, biome.n_trees)]
    plants += [(float(d), "bush") for d in rng.uniform(0.03, 0.8, biome.n_bushes)]
    for number, (depth, kind) in enumerate(sorted(plants)):
        own = stream(key, "plant", number)
        x = (own.uniform(-0.05, 1.05) - shift * (0.5 + depth)) * width
        foot, scale = horizon + depth * (height - horizon), depth * height * ground.metre
        if kind == "tree":
            _tree(pen, own, biome, x, foot, scale)
        else:
            rx = scale * own.uniform(0.3, 0.8)
            _leaves(pen, own, biome.leaf, x, foot - rx * 0.4, rx, rx * own.uniform(0.5, 0.9), 420)
    _boulders(picture, key, ground, horizon)
    _meadow(ImageDraw.Draw(picture), stream(key, "meadow"), biome, width, height, horizon)
    canvas = np.asarray(picture, np.float32) / 255
    depth = np.clip((np.arange(height, dtype=np.float32) - horizon) / (height - horizon), 0, 1)[:, None]
    dapple = 0.6 * np.clip(_blobs(key, width, height, 9), -1, 0.4) * (0.8 if biome.n_trees > 5 else 0.25)
    dapple = 1 + dapple * np.clip(depth * 8, 0, 1)
    shade = lights.vignette(width, height, light.vignette)
    bright = lights.day(canvas * dapple[..., None], depth * np.ones((1, width), np.float32), light) * shade[..., None]
    hot = 1.15 - 0.7 * (np.linspace(-1, 1, width, dtype=np.float32) ** 2)[None, :]
    dark = lights.night(canvas, depth * hot, light, lift=0.04) * shade
    pictures = [Image.fromarray((np.clip(p, 0, 1) * 255).astype(np.uint8)) for p in (bright, dark)]
    if light.softness:
        pictures = [p.filter(ImageFilter.GaussianBlur(light.softness * width / 1280)) for p in pictures]
    return Backdrop(ground, pictures[0], pictures[1], shade)
