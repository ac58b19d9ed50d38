"""Four-legged bodies in metres, as chains of spheres; animals.py draws them."""

from dataclasses import dataclass

import numpy as np

from trapline.apps.demo.chance import stream
from trapline.apps.demo.species import SHAPE_SPREAD, SHAPES, Shape


@dataclass(frozen=True)
class Part:
    """One body part: sphere centres (n, 3) as x forward, y up, z towards the viewer, and radii (n,)."""

    name: str
    centres: np.ndarray
    radii: np.ndarray
    tone: str


def moved(point: np.ndarray, x: float, y: float, z: float) -> np.ndarray:
    """Return the point (3,) moved by (x, y, z)."""
    return point + np.array((x, y, z))


def chain(*points: np.ndarray | tuple[float, float, float], radii: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return a smooth chain through the points: (n, 3) centres and (n,) radii."""
    knots = np.array(points, dtype=float)
    steps = 5
    at = np.linspace(0, len(knots) - 1, (len(knots) - 1) * steps + 1)
    index = np.clip(at.astype(int), 0, len(knots) - 2)
    t = (at - index)[:, None]
    before, after = knots[np.maximum(index - 1, 0)], knots[np.minimum(index + 2, len(knots) - 1)]
    a, b = knots[index], knots[index + 1]
    centres = 0.5 * (
        2 * a + (b - before) * t + (2 * before - 5 * a + 4 * b - after) * t**2 + (3 * a - before - 3 * b + after) * t**3
    )
    return centres, np.interp(at, np.arange(len(radii)), radii)


def quadruped(species: str, individual: str, pose: str, phase: float) -> list[Part]:
    """Return the parts of a four-legged animal standing at the origin, in metres."""
    shape = SHAPES[species]
    rng = stream(individual, "shape")
    vary = np.exp(rng.normal(0, 0.1 * SHAPE_SPREAD, 8))
    size = shape.length * float(np.exp(rng.normal(0, 0.12 * SHAPE_SPREAD)))
    leg = shape.leg * vary[0] * (0.5 if pose == "crouch" else 1)
    rear, middle, front = shape.rear * vary[1], shape.middle * vary[2], shape.front * vary[1]
    if pose == "sit" and species in ("deer", "boar", "skunk"):
        pose = "crouch"
    sit = 0.62 if pose == "sit" else 0.0
    hip, shoulder = leg * (1 - sit) + rear * 0.75, leg + front * 0.75 + sit * 0.1
    back, breast = -0.42 + sit * 0.18, 0.4 - sit * 0.25
    hump = 0.1 if species in ("mouse", "skunk") else (0.06 if species == "boar" else -0.01)
    belly = (hip + shoulder) / 2 + hump
    rump = ((back - 0.08, hip - 0.02, 0.0), (back, hip, 0.0), (0.02, belly, 0.0))
    line = (*rump, (breast, shoulder, 0.0), (breast + 0.1, shoulder, 0.0))
    parts = [Part("trunk", *chain(*line, radii=(rear * 0.7, rear, middle, front, front * 0.75)), "side")]
    rise = shape.rise + rng.normal(0, 0.12) + 0.25 * np.sin(phase * 0.5)
    if pose == "down":
        rise = -0.75 if shape.neck > 0.3 else -0.5
    base = np.array([breast + 0.06, shoulder + front * 0.3, 0.0])
    nape = base + shape.neck * vary[3] * np.array([np.cos(rise), np.sin(rise), 0])
    neck = chain(moved(base, -0.08, -0.06, 0), nape, radii=(front * 0.85, shape.neck_radius))
    parts.append(Part("neck", *neck, "side"))
    for end, sign in (("far", -1), ("near", 1)):
        stride = phase + (0 if sign > 0 else np.pi)
        for place, start, top, depth in (("hind", back + 0.02, hip, rear), ("fore", breast - 0.04, shoulder, front)):
            swing = np.sin(stride + (0.8 if place == "hind" else 0))
            lift = max(0.0, float(np.cos(stride))) * 0.08 * leg
            if pose != "walk":
                swing, lift = 0.25 * swing, 0.0
            z = sign * depth * 0.5
            hind = place == "hind"
            foot = (start + 0.34 * swing * leg + sit * 0.3 * hind, lift + shape.leg_radius * 0.5, z)
            knee = (start + (0.1 if hind else -0.02) + 0.1 * swing, top * 0.62, z)
            hock = ((start + foot[0]) / 2 + (-0.13 if hind else 0.05) * (1 + sit) * leg, top * 0.3 + lift, z)
            thick = shape.leg_radius * vary[6]
            limb = chain((start, top - 0.02, z * 0.7), knee, hock, foot, (foot[0] + 0.05, foot[1], z),
                         radii=(depth * 0.62, thick * 1.9, thick, thick * 0.9, thick * 0.8))  # fmt: skip
            parts.append(Part(f"{end} {place} leg", *limb, "leg"))
    parts.append(_tail(shape, np.array([back - rear * 0.75, hip + rear * 0.35, 0.0]), phase, vary[2], rng))
    parts += _head(species, shape, nape, float(rise), phase, vary, rng)
    return [Part(part.name, part.centres * size, part.radii * size, part.tone) for part in parts]


def _head(species: str, shape: Shape, nape: np.ndarray, rise: float, phase: float, vary: np.ndarray,
          rng: np.random.Generator) -> list[Part]:  # fmt: skip
    """Return head, muzzle, ears and perhaps antlers on a neck that ends at `nape` and rises by `rise` radians."""
    turn = float(np.clip(np.sin(phase * 1.3) * 0.5, -0.5, 0.5))
    nod = -0.35 + 0.25 * min(rise, 0)
    gaze = np.array([np.cos(nod) * np.cos(turn), np.sin(nod), np.cos(nod) * np.sin(turn)])
    skull = nape + 0.06 * gaze
    head, muzzle, ear = shape.head * vary[4], shape.muzzle * vary[5], shape.ear * vary[7]
    nose = skull + (head * 0.6 + muzzle) * gaze
    side = np.array([-gaze[2], 0, gaze[0]]) / max(float(np.hypot(gaze[0], gaze[2])), 1e-6)
    up = np.cross(side, gaze)
    parts = []
    spread = 0.9 if species in ("deer", "boar") else 0.35
    blunt = 0.8 if species in ("mouse", "skunk") else 0.12
    for end, sign in (("far ear", -1), ("near ear", 1)):
        root = skull - 0.2 * head * gaze + sign * side * head * 0.65 + up * head * 0.55
        out = up + sign * side * spread - 0.25 * gaze
        tip = root + out / np.linalg.norm(out) * ear
        parts.append(Part(end, *chain(root, tip, radii=(shape.ear_radius, shape.ear_radius * blunt)), "ear"))
    brow = chain(skull - 0.3 * head * gaze, skull + 0.4 * head * gaze, radii=(head, head * 0.85))
    parts.append(Part("head", *brow, "head"))
    snout = chain(skull + 0.5 * head * gaze, nose, radii=(head * 0.6, shape.muzzle_radius))
    parts.append(Part("muzzle", *snout, "muzzle"))
    if species == "deer" and rng.random() < 0.3:
        for sign in (-1, 1):
            root = skull + up * head * 0.8 + sign * side * head * 0.4
            fork = root + up * 0.2 + sign * side * 0.12 - gaze * 0.1
            for tine in (fork + up * 0.2 + gaze * 0.12, fork + up * 0.12 - gaze * 0.12):
                parts.append(Part("antler", *chain(root, fork, tine, radii=(0.022, 0.018, 0.008)), "ear"))
    return parts


def _tail(shape: Shape, root: np.ndarray, phase: float, bulk: float, rng: np.random.Generator) -> Part:
    lift = shape.tail_rise + rng.normal(0, 0.3) + 0.2 * np.sin(phase)
    length, thick = shape.tail * float(np.exp(rng.normal(0, 0.12))), shape.tail_radius * bulk
    bow = root + length * 0.5 * np.array([-np.cos(lift), np.sin(lift), 0.15])
    end = bow + length * 0.5 * np.array([-np.cos(lift - 0.5), np.sin(lift - 0.5), 0.1])
    end[1] = max(end[1], 0.03)
    return Part("tail", *chain(root, bow, end, radii=(thick * 0.6, thick, thick * 0.5)), "tail")
