"""The light of one camera: how scene colours become picture colours, by day and under infrared flash."""

from dataclasses import dataclass

import numpy as np

from trapline.apps.demo.chance import stream

# How far cameras differ in exposure, cast, contrast and haze; 0 gives every camera the same neutral picture.
CAMERA_SPREAD = 1.0


@dataclass(frozen=True)
class Light:
    """Constants of one camera: `cast` multiplies RGB, `haze` is its share at the horizon, `sun` is (x, y down)."""

    exposure: float
    gamma: float
    contrast: float
    saturation: float
    cast: tuple[float, float, float]
    haze: float
    vignette: float
    flash: float
    reach: float
    softness: float
    noise: float
    sun: tuple[float, float]


def light_of(camera_key: str) -> Light:
    """Return the light of a camera, drawn from its name alone."""
    rng = stream(camera_key, "light")
    spread = CAMERA_SPREAD
    warm, green = rng.normal(0, 0.09 * spread), rng.normal(0, 0.03 * spread)
    side = float(rng.uniform(-0.8, 0.8))
    return Light(
        exposure=float(np.exp(rng.normal(0, 0.24 * spread))),
        gamma=float(np.exp(rng.normal(-0.05, 0.16 * spread))),
        contrast=float(np.exp(rng.normal(0, 0.16 * spread))),
        saturation=float(np.clip(rng.normal(0.85, 0.28 * spread), 0.15, 1.35)),
        cast=(1 + float(warm), 1 + float(green), 1 - float(warm)),
        haze=float(rng.choice([0.12, 0.25, 0.65], p=[0.5, 0.3, 0.2])),
        vignette=float(rng.uniform(0.1, 0.5)),
        flash=float(np.exp(rng.normal(0.1, 0.3 * spread))),
        reach=float(rng.uniform(0.42, 0.75)),
        softness=float(rng.choice([0.0, 0.5, 1.2], p=[0.45, 0.35, 0.2])),
        noise=float(rng.uniform(2, 7)),
        sun=(side, -float(np.sqrt(1 - side**2))),
    )


def day(rgb: np.ndarray, depth: np.ndarray | float, light: Light) -> np.ndarray:
    """Grade scene colours (h, w, 3) in 0..1 at `depth` (0 horizon, 1 near) as the camera sees them by day."""
    haze = (light.haze * np.clip(1 - np.asarray(depth, np.float32) * 1.6, 0, 1))[..., None]
    out = rgb + (np.array([0.78, 0.8, 0.82], np.float32) - rgb) * haze
    grey = out @ np.array([0.3, 0.59, 0.11], np.float32)
    out = grey[..., None] + (out - grey[..., None]) * light.saturation
    out = np.clip(out * np.array(light.cast, np.float32) * light.exposure, 0, 1) ** light.gamma
    return np.clip((out - 0.45) * light.contrast + 0.45, 0, 1)


def night(rgb: np.ndarray, depth: np.ndarray | float, light: Light, *, lift: float = 0.0) -> np.ndarray:
    """Grade scene colours under the flash: grey (h, w) in 0..1, darker with distance; `lift` is fur's infrared glow."""
    grey = rgb @ np.array([0.5, 0.35, 0.15], np.float32)
    grey = lift + (1 - lift) * grey
    lit = light.flash * np.clip((np.asarray(depth, np.float32) / light.reach) ** 1.7, 0.02, 1.5)
    out = np.clip(grey * lit, 0, 1) ** (0.9 * light.gamma)
    return np.clip((out - 0.35) * light.contrast + 0.35, 0.02, 1)


def vignette(width: int, height: int, strength: float) -> np.ndarray:
    """Return the factor (h, w) by which a lens darkens its corners."""
    x, y = np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)
    return 1 - strength * np.clip((x[None, :] ** 2 + y[:, None] ** 2) / 2, 0, 1) ** 1.3
