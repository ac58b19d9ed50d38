"""The species: proportions, coats and how far individuals differ."""

from dataclasses import dataclass

import numpy as np

from trapline.apps.demo.chance import stream

Colour = tuple[float, float, float]

# How much individuals and coats vary within a species; together with SHAPE_SPREAD the main knob of the task's
# difficulty (see benchmarks/demo_difficulty.py): at 0 all foxes look alike and the probe is nearly perfect.
COAT_SPREAD = 1.5
SHAPE_SPREAD = 1.8


@dataclass(frozen=True)
class Shape:
    """Proportions, in units of the trunk's length."""

    length: float  # metres from rump to chest
    leg: float
    rear: float
    middle: float
    front: float
    neck: float
    neck_radius: float
    rise: float  # radians of the neck above the horizon
    head: float
    muzzle: float
    muzzle_radius: float
    ear: float
    ear_radius: float
    tail: float
    tail_radius: float
    tail_rise: float
    leg_radius: float


SHAPES = {
    "fox": Shape(0.62, 0.52, 0.15, 0.14, 0.17, 0.24, 0.10, 0.6, 0.11, 0.17, 0.035, 0.15, 0.05,
        0.68, 0.085, -0.5, 0.045),
    "bobcat": Shape(0.72, 0.56, 0.19, 0.17, 0.18, 0.18, 0.12, 0.55, 0.135, 0.06, 0.07, 0.12, 0.045,
        0.2, 0.045, -0.7, 0.06),
    "skunk": Shape(0.46, 0.24, 0.21, 0.19, 0.14, 0.14, 0.10, 0.1, 0.10, 0.12, 0.035, 0.05, 0.035,
        0.75, 0.13, 0.5, 0.05),
    "mouse": Shape(0.17, 0.14, 0.25, 0.24, 0.16, 0.08, 0.12, 0.1, 0.14, 0.15, 0.03, 0.13, 0.075,
        1.0, 0.02, -0.1, 0.035),
    "deer": Shape(1.15, 0.82, 0.2, 0.2, 0.21, 0.5, 0.09, 0.95, 0.10, 0.2, 0.05, 0.18, 0.04, 0.16, 0.045, -0.9, 0.045),
    "boar": Shape(1.0, 0.44, 0.24, 0.28, 0.30, 0.18, 0.21, -0.1, 0.17, 0.28, 0.065, 0.13, 0.05,
        0.3, 0.018, -1.0, 0.055),
}  # fmt: skip

# RGB in 0..1, in percent: one column for each of TONES.
TONES = ("back", "side", "belly", "leg", "head", "muzzle", "tail", "tip", "ear")
_PERCENT = {
    "fox": ((42, 36, 30), (66, 38, 19), (80, 72, 62), (48, 30, 18), (58, 38, 23), (72, 64, 56),
        (50, 36, 25), (22, 19, 17), (42, 28, 18)),
    "bobcat": ((50, 38, 26), (62, 49, 35), (80, 73, 62), (60, 47, 34), (58, 45, 32), (78, 72, 64),
        (56, 43, 30), (12, 10, 9), (22, 18, 15)),
    "skunk": ((10, 9, 9), (9, 8.5, 8.5), (8, 8, 8), (8, 7.5, 7.5), (9, 8.5, 8.5), (13, 11, 11),
        (12, 11, 11), (75, 73, 70), (10, 9, 9)),
    "mouse": ((36, 29, 22), (50, 39, 27), (82, 79, 74), (70, 58, 52), (44, 35, 25), (62, 52, 44),
        (46, 37, 33), (46, 37, 33), (58, 44, 40)),
    "deer": ((47, 33, 22), (57, 42, 28), (82, 76, 68), (54, 40, 28), (52, 39, 27), (40, 31, 25),
        (40, 28, 19), (12, 10, 9), (56, 44, 34)),
    "boar": ((17, 14, 12), (26, 21, 17), (28, 23, 19), (15, 13, 11), (23, 18, 15), (38, 31, 28),
        (19, 16, 13), (12, 10, 9), (22, 17, 15)),
    "raven": ((7, 7, 8.5), (6, 6, 7.5), (5.5, 5.5, 6.5), (6, 6, 6), (6.5, 6.5, 8), (5, 5, 5),
        (5.5, 5.5, 7), (5, 5, 6), (6, 6, 6)),
}  # fmt: skip
COATS = {
    species: dict(zip(TONES, (tuple(part / 100 for part in tone) for tone in tones), strict=True))
    for species, tones in _PERCENT.items()
}

# Cast of other morphs: (probability, colour the coat is drawn towards, how far).
MORPHS = {
    "fox": (0.25, (0.3, 0.28, 0.27), 0.6),
    "bobcat": (0.2, (0.6, 0.42, 0.25), 0.5),
    "skunk": (0.1, (0.28, 0.2, 0.15), 0.5),
    "mouse": (0.25, (0.3, 0.28, 0.27), 0.6),
    "deer": (0.25, (0.36, 0.33, 0.3), 0.6),
    "boar": (0.35, (0.5, 0.36, 0.24), 0.6),
    "raven": (0.15, (0.15, 0.13, 0.12), 0.4),
}


def coat(species: str, individual: str) -> dict[str, Colour]:
    """Return the colours of one individual: the species' coat, its morph, its own shade and contrast."""
    rng = stream(individual, "coat")
    if species == "person":
        top, legs = rng.uniform(0.08, 0.75, 3), rng.uniform(0.08, 0.4) * np.array([0.9, 0.95, 1.1])
        skin = np.array([0.75, 0.56, 0.44]) * rng.uniform(0.45, 1.1)
        tones = {
            "side": top,
            "leg": legs,
            "head": skin,
            "hat": rng.uniform(0.1, 0.6, 3),
            "pack": rng.uniform(0.1, 0.5, 3),
        }
        return {name: _colour(value) for name, value in tones.items()}
    probability, morph, strength = MORPHS[species]
    pull = strength * rng.uniform(0.5, 1) if rng.random() < probability * COAT_SPREAD else 0.0
    shade = np.exp(rng.normal(0, 0.22 * COAT_SPREAD))
    cast = 1 + rng.normal(0, 0.1 * COAT_SPREAD) * np.array([0.6, 0.0, -0.6]) + rng.normal(0, 0.015, 3)
    contrast = 1 - min(float(np.clip(rng.normal(0.25, 0.25), 0, 0.8)) * COAT_SPREAD, 0.9)
    middle = np.array(COATS[species]["side"])
    tones = {}
    for name, value in COATS[species].items():
        mixed = middle + (np.array(value) - middle) * contrast
        mixed = mixed + (np.array(morph) * (0.7 + 0.6 * np.mean(value)) - mixed) * pull
        tones[name] = _colour(mixed * shade * cast)
    return tones


def _colour(value: np.ndarray) -> Colour:
    red, green, blue = np.clip(value, 0.02, 0.95)
    return float(red), float(green), float(blue)
