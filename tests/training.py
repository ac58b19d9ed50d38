"""Small trainings for tests: crops of noise around one colour per label, and a model that learns them in seconds."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import torch
from PIL import Image

from trapline.core.config import TrainConfig
from trapline.core.log import Log
from trapline.core.schemas import EXAMPLES, SPLITS
from trapline.learn import checkpoint
from trapline.stages.train import train

SMALL = TrainConfig(
    model="test_efficientnet",
    pretrained=False,
    image_size=32,
    epochs=3,
    batch_size=8,
    lr=0.01,
    freeze=0.0,
    num_workers=2,
    device="cpu",
    patience=10,
)
COLOURS = {"ant": (200, 40, 40), "bee": (40, 200, 40), "cat": (40, 40, 200), "dog": (200, 200, 40)}
CLOCK = ("seconds", "images_per_s", "peak_memory_mb")


def draw(crops_dir: Path, groups=("g1", "g2", "g3", "g4"), labels=("ant", "bee", "cat"), each=3):
    """Crops of noise around one colour per label, and their EXAMPLES; g1 and g2 train, g3 val, g4 test."""
    rows = []
    crops_dir.mkdir(parents=True, exist_ok=True)
    for group in groups:
        for label in labels:
            for k in range(each):
                crop_id = f"{group}_{label}_{k}.png"
                random = np.random.default_rng(len(rows))
                pixels = random.normal(0, 60, (12, 12, 3)) + COLOURS[label]
                image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).resize((40, 40))
                image.save(crops_dir / crop_id)
                rows.append({"crop_id": crop_id, "labels": [label], "group_id": group})
    return examples_of(rows), splits_of({"g1": "train", "g2": "train", "g3": "val", "g4": "test"})


def examples_of(rows) -> pl.DataFrame:
    constants = {"image_id": "i", "dataset": "d", "weight": 1.0, "heldback": False}
    full = [{**constants, **row} for row in rows]
    return EXAMPLES.check(pl.DataFrame(full, schema=EXAMPLES.columns, orient="row"))


def splits_of(assignment) -> pl.DataFrame:
    rows = [{"group_id": group, "split": split} for group, split in sorted(assignment.items())]
    return pl.DataFrame(rows, schema=SPLITS.columns, orient="row")


def run(tmp_path, examples, splits, cfg=SMALL, name="run", log=None, **changes):
    """Train in `tmp_path/name` on the crops of `tmp_path/crops`; `changes` are of the configuration."""
    cfg = TrainConfig.model_validate({**cfg.model_dump(), **changes})
    return train(examples, splits, cfg, crops_dir=tmp_path / "crops", run_dir=tmp_path / name, log=log or Log())


def metrics(folder: Path):
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name not in CLOCK} for row in rows]


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    """The raw weights of a run's last checkpoint."""
    _, state = checkpoint.load_with_state(folder / "checkpoints/last.pt")
    assert state is not None
    return state["model"]


def assert_same_run(one: Path, other: Path):
    """Bit for bit: metrics, both checkpoints, the optimizer."""
    assert metrics(one) == metrics(other)
    assert (one / "checkpoints/best.pt").read_bytes() == (other / "checkpoints/best.pt").read_bytes()
    states = [checkpoint.load_with_state(folder / "checkpoints/last.pt") for folder in (one, other)]
    weights = [c.weights for c, _ in states]
    raw = [s["model"] for _, s in states if s]
    for first, second in (weights, raw):
        assert first.keys() == second.keys()
        assert all(torch.equal(first[name], second[name]) for name in first)
    moments = [s["optimizer"]["state"] for _, s in states if s]
    assert all(torch.equal(moments[0][k][n], moments[1][k][n]) for k in moments[0] for n in moments[0][k])
    assert (one / "done.json").read_text() == (other / "done.json").read_text()


def soften(path: Path, share: float = 0.04) -> None:
    """Make a checkpoint less sure of itself, so that every label has a probability that can be compared."""
    known = checkpoint.load(path)
    head = {name: values * share for name, values in known.weights.items() if name.startswith("classifier.")}
    assert head
    checkpoint.save(path, replace(known, weights={**known.weights, **head}))
