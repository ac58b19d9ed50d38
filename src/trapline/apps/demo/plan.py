"""Who stands where, when, in front of which camera, and which faults are planted. No pixel is drawn here."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from functools import lru_cache

import numpy as np

from trapline.apps.demo.chance import stream, token

# Raise this when a change alters any picture or any line of the export: finished folders are then drawn again.
VERSION = 1
PROJECT = "painted_island"
ZONE = timezone(timedelta(hours=-8))

# Share of animal crops per species: one common, a long tail; the rarest still gives about 40 crops.
SHARES = {"fox": 0.34, "deer": 0.20, "mouse": 0.15, "raven": 0.11, "skunk": 0.09, "boar": 0.07, "bobcat": 0.04}
# Individuals of a species that live at one camera; each keeps its own coat and build in all its pictures.
N_RESIDENTS = 2
# Share of a species' visits that come at night, when the picture is infrared and the coat has no colour.
NIGHT = {"fox": 0.6, "deer": 0.4, "mouse": 0.8, "raven": 0.1, "skunk": 0.8, "boar": 0.6, "bobcat": 0.55, "person": 0.1}
# Nearest and farthest place, as a fraction of the way from the horizon (0) to the lower edge of the picture (1).
REACH = {"fox": (0.42, 1.0), "deer": (0.3, 0.9), "mouse": (0.6, 1.05), "raven": (0.42, 1.0), "skunk": (0.5, 1.05),
         "boar": (0.32, 0.9), "bobcat": (0.42, 0.95), "person": (0.3, 0.7)}  # fmt: skip
UNUSED_LABELS = ("vehicle", "elk", "unknown bird")

EMPTY_SHARE = 0.12
PERSON_SHARE = 0.04
COMPANY_SHARE = 0.1  # of animal visits; a second (or third) animal is in view
MIXED_SHARE = 0.3  # of those, the share with two species
MACHINE_SHARE = 0.05


@dataclass(frozen=True)
class DemoSize:
    """How much to draw. Pictures are `width_px` x `height_px`; counts are of cameras, pictures and planted faults.

    `evenness` is the shape of the gamma variables that spread the species over cameras; smaller is more uneven. This
    is part of what makes held-out cameras harder than seen ones: a background gives its usual species away.
    """

    n_locations: int
    images_per_location: int
    width_px: int
    height_px: int
    n_wrong_labels: int
    n_duplicates: int
    evenness: float


FULL = DemoSize(64, 20, 1280, 960, n_wrong_labels=36, n_duplicates=24, evenness=0.35)
SMALL = DemoSize(13, 10, 320, 240, n_wrong_labels=6, n_duplicates=4, evenness=3.0)

BROKEN_KINDS = ("truncated", "truncated", "zero_bytes", "text", "missing")


@dataclass(frozen=True)
class Camera:
    """One place. `view` is (x, y) of the shift of each deployment's view, as fractions of the picture."""

    name: str
    key: str
    deployments: tuple[str, ...]
    view: tuple[tuple[float, float], ...]
    make: str
    model: str


@dataclass(frozen=True)
class Figure:
    """One animal or person in one frame; `x` and `depth` are fractions (see REACH), angles are in radians."""

    annotation_id: str
    true_label: str
    given_label: str
    individual: str
    x: float
    depth: float
    yaw: float
    phase: float
    pose: str
    machine_conf: float | None = None


@dataclass(frozen=True)
class Frame:
    """One picture that a camera took, or (`copy_of`) the copy of another camera's picture."""

    image_id: str
    camera: int
    deployment: int
    file_name: str
    original_file_name: str
    captured_at: datetime
    night: bool
    figures: tuple[Figure, ...]
    annotation_id: str
    copy_of: str | None = None
    broken: str | None = None


@dataclass(frozen=True)
class Plan:
    """Everything that is known before a pixel is drawn; frames are sorted by camera, then time."""

    size: DemoSize
    seed: int
    cameras: tuple[Camera, ...]
    frames: tuple[Frame, ...]


def _cameras(size: DemoSize, seed: int) -> tuple[Camera, ...]:
    makes = (("RECONYX", "HYPERFIRE 2"), ("BUSHNELL", "CORE DS-4K"), ("BuckEyeCam", "X80"), ("Browning", "BTC-8E"))
    cameras = []
    for number in range(size.n_locations):
        rng = stream(seed, "camera", number)
        name = f"PI{number + 1:03d}"
        moved = number in (size.n_locations // 4, size.n_locations // 2, size.n_locations - 2)
        deployments = (f"{name}-ridge", f"{name}-gully") if moved else (f"{name}-default",)
        view = ((0.0, 0.0), (float(rng.uniform(0.05, 0.12)), float(rng.uniform(-0.03, 0.03))))[: len(deployments)]
        make, model = makes[int(rng.integers(len(makes)))]
        cameras.append(Camera(name, f"{seed}:camera:{number}", deployments, view, make, model))
    return tuple(cameras)


def _mixtures(size: DemoSize, seed: int) -> np.ndarray:
    """Return probabilities (camera, species): rows sum to 1, columns to the species' share of all visits."""
    rng = stream(seed, "mixtures")
    share = np.array(list(SHARES.values()))
    weights = rng.gamma(size.evenness, size=(size.n_locations, len(share))) + 1e-4
    for column in np.flatnonzero(share < 0.08):  # the rare ones: few places, but enough of them for every split
        chosen = rng.permutation(size.n_locations) < max(6, round(size.n_locations * 0.25))
        weights[:, column] = np.where(chosen, weights[:, column] + 0.3, 0)
    for _ in range(60):
        weights *= share * size.n_locations / weights.sum(axis=0)
        weights /= weights.sum(axis=1, keepdims=True)
    return weights


def _figures(names: list[str], labels: list[str], length: int, rng: np.random.Generator) -> list[tuple[Figure, ...]]:
    """Move each animal through the burst and return the figures of every frame."""
    tracks = []
    for number, label in enumerate(labels):
        near, far = REACH[label][1], REACH[label][0]
        depth = far + (near - far) * rng.beta(1.6, 1.6)
        yaw = float(rng.choice([0.0, np.pi]) + rng.normal(0, 0.55))
        speed = float(np.abs(rng.normal(0.0, 0.09))) * (0.3 + depth)
        x = (
            float(rng.uniform(0.08, 0.92))
            if number == 0
            else (tracks[0][0] + rng.choice([-1, 1]) * rng.uniform(0.2, 0.4))
        )
        pose = str(rng.choice(["walk", "walk", "stand", "down", "down", "sit", "crouch"]))
        tracks.append(
            (x, depth, yaw, speed, pose, float(rng.uniform(0, 6.3)), f"{names[0]}|{label}|{rng.integers(N_RESIDENTS)}")
        )
    frames = []
    for step in range(length):
        figures = []
        for number, label in enumerate(labels):
            x, depth, yaw, speed, pose, phase, individual = tracks[number]
            if step and rng.random() < 0.3:
                pose = str(rng.choice(["walk", "stand", "down"]))
            x = float(np.clip(x + step * speed * np.cos(yaw) + rng.normal(0, 0.008), 0.01, 0.99))
            depth = float(np.clip(depth + rng.normal(0, 0.008), *REACH[label]))
            turned = float(yaw + rng.normal(0, 0.15))
            annotation_id = token(*names, step, number, length=24)
            figures.append(Figure(annotation_id, label, label, individual, x, depth, turned, phase + 1.9 * step, pose))
        frames.append(tuple(figures))
    return frames


def _visits(size: DemoSize, seed: int, number: int, n_images: int, mixture: np.ndarray, camera: Camera) -> list[Frame]:
    """Plan every burst of one camera until it has taken `n_images` pictures."""
    rng = stream(seed, "visits", number)
    species = list(SHARES)
    # Visits follow the mixture as closely as whole visits can, so that shares hold at every seed.
    queue: list[str] = []
    owed = rng.uniform(-0.3, 0.3, len(species)) + mixture * rng.uniform(0, 8, len(species))
    start = datetime(2025, 4, 2, tzinfo=ZONE) + timedelta(days=int(rng.integers(20)), hours=3)
    clock, frames, serial = start, [], int(rng.integers(1, 900))
    while len(frames) < n_images:
        length = min(int(rng.choice([1, 2, 3, 4, 5], p=[0.32, 0.25, 0.25, 0.09, 0.09])), n_images - len(frames))
        kind = rng.random()
        if kind < EMPTY_SHARE:
            labels: list[str] = []
        elif kind < EMPTY_SHARE + PERSON_SHARE:
            labels = ["person"] * int(rng.choice([1, 2], p=[0.8, 0.2]))
        else:
            owed += mixture * length
            first = int(np.argmax(owed))
            owed[first] -= length
            labels = [species[first]]
            if rng.random() < COMPANY_SHARE:
                mixed = rng.random() < MIXED_SHARE
                extra = int(rng.choice(len(species), p=mixture)) if mixed else first
                labels += [species[extra]] * int(rng.choice([1, 2], p=[0.85, 0.15]))
                owed[extra] -= length * (len(labels) - 1) * 0.5
        queue.extend(labels)
        night = rng.random() < (NIGHT[labels[0]] if labels else 0.4)
        clock += timedelta(days=int(rng.integers(1, 5)))
        hour = rng.uniform(19.5, 28.5) if night else rng.uniform(6.5, 18.5)
        clock = clock.replace(hour=0, minute=0, second=0) + timedelta(seconds=int(hour * 3600))
        names = [f"{seed}", camera.name, str(len(frames)), str(size)]
        deployment = int(len(camera.deployments) > 1 and len(frames) >= n_images / 2)
        taken = clock
        for figures in _figures([camera.key, *names], labels, length, rng):
            serial += 1
            image_id = f"{PROJECT}:{token(VERSION, size, seed, number, len(frames))}"
            frames.append(Frame(image_id, number, deployment, _file_name(image_id, camera, deployment),
                                f"RCNX{serial:04d}.JPG", taken, night, figures,
                                token(image_id, "empty", length=24)))  # fmt: skip
            taken += timedelta(seconds=int(rng.integers(1, 4)))
    return frames


def _file_name(image_id: str, camera: Camera, deployment: int) -> str:
    return f"{PROJECT}/{camera.name}/{camera.deployments[deployment]}/{image_id.replace(':', '-', 1)}.jpg"


def _spread(candidates: list[int], count: int, groups: list[tuple[object, ...]], rng: np.random.Generator) -> list[int]:
    """Choose `count` of the candidates, no group (camera, species, ...) twice before all others have had one."""
    used: dict[object, int] = {}
    chosen: list[int] = []
    waiting = [candidates[i] for i in rng.permutation(len(candidates))]
    while waiting and len(chosen) < count:
        waiting.sort(key=lambda i: sum(used.get(part, 0) for part in groups[i]))
        pick = waiting.pop(0)
        chosen.append(pick)
        for part in groups[pick]:
            used[part] = used.get(part, 0) + 1
    return chosen


def _plant(size: DemoSize, seed: int, cameras: tuple[Camera, ...], frames: list[Frame]) -> list[Frame]:
    """Plant wrong labels, machine labels, broken files and copies; no frame gets two of the planted faults."""
    rng = stream(seed, "faults")
    species = list(SHARES)
    groups: list[tuple[object, ...]] = [
        (frame.camera, frame.figures[0].true_label if frame.figures else "empty") for frame in frames
    ]
    alone = [i for i, f in enumerate(frames) if len(f.figures) == 1 and f.figures[0].true_label != "person"]
    for i, frame in enumerate(frames):
        figures = tuple(
            replace(figure, machine_conf=round(float(rng.uniform(0.42, 0.97)), 3))
            if rng.random() < MACHINE_SHARE
            else figure
            for figure in frame.figures
        )
        frames[i] = replace(frame, figures=figures)
    for i in _spread(alone, size.n_wrong_labels, groups, rng):
        figure = frames[i].figures[0]
        given = str(rng.choice([name for name in species if name != figure.true_label]))
        frames[i] = replace(frames[i], figures=(replace(figure, given_label=given, machine_conf=None),))
    sound = [i for i in alone if frames[i].figures[0].given_label == frames[i].figures[0].true_label]
    picks = _spread(sound, len(BROKEN_KINDS) + size.n_duplicates, groups, rng)
    for kind, i in zip(BROKEN_KINDS, picks, strict=False):
        frames[i] = replace(frames[i], broken=kind)
    copies = []
    for i in picks[len(BROKEN_KINDS) :]:
        frame = frames[i]
        other = int((frame.camera + rng.integers(1, len(cameras))) % len(cameras))
        image_id = f"{PROJECT}:{token(frame.image_id, 'copy')}"
        figures = tuple(
            replace(figure, annotation_id=token(image_id, figure.annotation_id, length=24)) for figure in frame.figures
        )
        copies.append(replace(frame, image_id=image_id, camera=other, deployment=0, figures=figures,
                              file_name=_file_name(image_id, cameras[other], 0), copy_of=frame.image_id,
                              annotation_id=token(image_id, "empty", length=24)))  # fmt: skip
    return frames + copies


@lru_cache(maxsize=4)
def plan(size: DemoSize, seed: int) -> Plan:
    """Plan the whole project; the same size and seed always give the same plan."""
    cameras = _cameras(size, seed)
    mixtures = _mixtures(size, seed)
    busy = stream(seed, "busy").lognormal(0, 0.35, size.n_locations)
    edges = np.round(np.cumsum(busy) / busy.sum() * size.n_locations * size.images_per_location).astype(int)
    counts = np.diff(edges, prepend=0)
    frames: list[Frame] = []
    for number, camera in enumerate(cameras):
        frames += _visits(size, seed, number, int(counts[number]), mixtures[number], camera)
    frames = _plant(size, seed, cameras, frames)
    frames.sort(key=lambda frame: (frame.camera, frame.captured_at, frame.image_id))
    return Plan(size, seed, cameras, tuple(frames))
