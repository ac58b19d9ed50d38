"""The two-legged: ravens and people, as chains of spheres in metres (see bodies.py)."""

import numpy as np

from trapline.apps.demo.bodies import Part, chain, moved
from trapline.apps.demo.chance import stream
from trapline.apps.demo.species import SHAPE_SPREAD


def raven(individual: str, pose: str, phase: float) -> list[Part]:
    """Return the parts of a raven: walking, pecking, or with its wings half open."""
    rng = stream(individual, "shape")
    size = 0.42 * float(np.exp(rng.normal(0, 0.12 * SHAPE_SPREAD)))
    stout = float(np.exp(rng.normal(0, 0.1 * SHAPE_SPREAD)))
    leg = 0.28 * (0.6 if pose in ("sit", "crouch") else 1)
    pitch = {"down": -0.25, "sit": 0.7}.get(pose, 0.3) + rng.normal(0, 0.1)
    along, up = np.array([np.cos(pitch), np.sin(pitch), 0]), np.array([-np.sin(pitch), np.cos(pitch), 0])
    middle = np.array([0.0, leg + 0.22, 0.0])
    rump, chest = middle - 0.35 * along, middle + 0.3 * along
    nod = -0.9 if pose == "down" else 0.1 + 0.3 * np.sin(phase)
    gaze = np.array([np.cos(nod), np.sin(nod), 0.25 * np.sin(phase)])
    skull = chest + (0.16 * up + 0.1 * along if pose != "down" else 0.16 * along - 0.06 * up)
    parts = [
        Part(
            "tail",
            *chain(rump, rump - 0.32 * along - 0.02 * up, rump - 0.45 * along - 0.03 * up, radii=(0.11, 0.09, 0.06)),
            "tail",
        ),
        Part("trunk", *chain(rump, middle, chest, radii=(0.12 * stout, 0.21 * stout, 0.15 * stout)), "side"),
        Part("neck", *chain(chest, skull, radii=(0.15, 0.11)), "side"),
        Part("head", *chain(skull, skull + 0.06 * gaze, radii=(0.115, 0.095)), "head"),
        Part(
            "muzzle",
            *chain(
                skull + 0.08 * gaze,
                skull + 0.2 * gaze,
                moved(skull + 0.3 * gaze, 0, -0.03, 0),
                radii=(0.055, 0.04, 0.012),
            ),
            "muzzle",
        ),
        Part(
            "near wing",
            *chain(
                moved(chest, -0.05, 0.02, 0.13),
                moved(middle, 0, 0.02, 0.17),
                moved(rump - 0.12 * along, 0, 0.02, 0.08),
                radii=(0.1, 0.12, 0.05),
            ),
            "back",
        ),
    ]
    if pose == "stand":  # half open: about to leave
        for end, sign in (("far wing", -1), ("near wing", 1)):
            tip = middle + np.array([-0.25, 0.5 + 0.15 * np.sin(phase), sign * 0.5])
            parts.append(
                Part(
                    end,
                    *chain(
                        moved(middle, 0.1, 0.1, sign * 0.1),
                        moved((middle + tip) / 2, 0.12, 0.05, 0),
                        tip,
                        radii=(0.1, 0.13, 0.03),
                    ),
                    "back",
                )
            )
    for end, sign in (("far leg", -1), ("near leg", 1)):
        foot = (0.12 * np.sin(phase + sign * 1.5), 0.02, sign * 0.07)
        parts.append(
            Part(
                end,
                *chain(
                    (0.0, leg + 0.1, sign * 0.07),
                    (-0.03, leg * 0.5, sign * 0.07),
                    foot,
                    (foot[0] + 0.09, 0.015, foot[2]),
                    radii=(0.06, 0.02, 0.017, 0.014),
                ),
                "leg",
            )
        )
    return [Part(part.name, part.centres * size, part.radii * size, part.tone) for part in parts]


def person(individual: str, pose: str, phase: float) -> list[Part]:
    """Return the parts of a person walking, stooping or standing, sometimes with a pack or a hat."""
    rng = stream(individual, "shape")
    tall = float(rng.uniform(0.85, 1.1))
    lean = 0.55 if pose in ("down", "crouch") else 0.05
    hip = np.array([0.0, 0.9, 0.0])
    neck = hip + 0.55 * np.array([np.sin(lean), np.cos(lean), 0])
    skull = neck + 0.2 * np.array([np.sin(lean), np.cos(lean), 0])
    parts = [
        Part("trunk", *chain(hip, (hip + neck) / 2, moved(neck, 0, -0.06, 0), radii=(0.16, 0.15, 0.17)), "side"),
        Part("neck", *chain(neck, skull, radii=(0.07, 0.06)), "head"),
        Part("head", *chain(skull, moved(skull, 0, 0.08, 0), radii=(0.09, 0.1)), "head"),
    ]
    for sign in (-1, 1):
        swing = float(np.sin(phase + (0 if sign > 0 else np.pi))) * (1 if pose == "walk" else 0.2)
        end = "near" if sign > 0 else "far"
        foot = (0.35 * swing, 0.05, sign * 0.1)
        parts.append(
            Part(
                f"{end} leg",
                *chain(
                    (0, 0.92, sign * 0.09),
                    (0.18 * swing + 0.06, 0.5, sign * 0.1),
                    foot,
                    (foot[0] + 0.14, 0.04, foot[2]),
                    radii=(0.12, 0.085, 0.06, 0.05),
                ),
                "leg",
            )
        )
        hand = neck + np.array([-0.3 * swing + 0.1 * lean, -0.6, sign * 0.26])
        parts.append(
            Part(
                f"{end} arm",
                *chain(
                    moved(neck, 0, -0.06, sign * 0.17),
                    moved(neck, -0.1 * swing - 0.03, -0.33, sign * 0.24),
                    hand,
                    radii=(0.075, 0.055, 0.04),
                ),
                "side",
            )
        )
    if rng.random() < 0.5:
        parts.append(
            Part(
                "pack",
                *chain(moved(hip, -0.16, 0.15, 0), moved(neck, -0.16, -0.08, 0), radii=(0.14, 0.13)),
                "pack",
            )
        )
    if rng.random() < 0.5:
        parts.append(
            Part(
                "hat",
                *chain(moved(skull, -0.06, 0.13, 0), moved(skull, 0.13, 0.12, 0), radii=(0.07, 0.03)),
                "hat",
            )
        )
    return [Part(part.name, part.centres * tall, part.radii * tall, part.tone) for part in parts]
