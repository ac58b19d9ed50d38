"""SIGKILL at random moments of the whole pipeline: what is left, run again, is what an unbroken run makes."""

import hashlib
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
import torch

from projects import draw_small, write_project
from trapline.io.ledger import FINGERPRINT

TABLES = ("images", "locations", "boxes", "labels", "files", "crops", "examples", "splits", "metrics")
KILLS = 20


def run(root: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "trapline", "run", "--project", str(root)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def outcome(root: Path) -> dict[str, object]:
    """Everything a run makes that may not depend on how often it was interrupted."""
    made: dict[str, object] = {name: pl.read_parquet(root / "tables" / f"{name}.parquet") for name in TABLES}
    folder = root / "runs"
    runs = sorted(path.name for path in folder.iterdir())
    made["runs"] = runs
    best = torch.load(folder / runs[-1] / "checkpoints" / "best.pt", weights_only=True)
    made["weights"] = digest(best)
    made["predictions"] = pl.read_parquet(folder / runs[-1] / "predictions.parquet")
    lines = (folder / runs[-1] / "metrics.jsonl").read_text().splitlines()
    clocks = ("seconds", "images_per_s", "peak_memory_mb")
    made["history"] = [{k: v for k, v in json.loads(line).items() if k not in clocks} for line in lines]
    crops = sorted(path for path in (root / "crops").rglob("*") if path.is_file())
    made["crops on disk"] = {str(path.relative_to(root)): path.read_bytes() for path in crops}
    for name in ("classification_ds.csv", "label_index.json", "splits.json"):
        made[name] = (root / "dataset" / name).read_bytes()
    return made


def digest(value: object) -> object:
    """Tensors by their bytes, anything else as it is, wall-clock fields left out."""
    if isinstance(value, torch.Tensor):
        return hashlib.sha256(value.contiguous().numpy().tobytes()).hexdigest()
    if isinstance(value, dict):
        return {key: digest(item) for key, item in value.items() if "seconds" not in str(key)}
    return repr(value)


def assert_same(made: dict[str, object], expected: dict[str, object]) -> None:
    assert made.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, pl.DataFrame):
            assert FINGERPRINT not in value.columns
            found = made[name]
            assert isinstance(found, pl.DataFrame)
            assert found.equals(value), f"{name} differs"
        else:
            assert made[name] == value, f"{name} differs"


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    planted = draw_small(folder / "drawn")
    root = write_project(folder / "p", planted)
    begin = time.monotonic()
    process = run(root)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors.decode()
    return planted, outcome(root), time.monotonic() - begin


def killed_again_and_again(root: Path, kills: int, longest_s: float, seed: int) -> int:
    """Kill up to `kills` runs, each at a random moment; then let one end. Returns how many were killed."""
    chance = random.Random(seed)
    killed = 0
    for _ in range(kills):
        process = run(root)
        try:
            _, errors = process.communicate(timeout=chance.uniform(0.3, longest_s))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            killed += 1
        else:
            assert process.returncode == 0, errors.decode()
    process = run(root)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors.decode()
    return killed


def test_three_kills(tmp_path, unbroken):
    planted, expected, seconds = unbroken
    root = write_project(tmp_path / "p", planted)
    assert killed_again_and_again(root, 3, 0.8 * seconds, seed=1) >= 1
    assert_same(outcome(root), expected)


@pytest.mark.slow
def test_twenty_kills_over_the_whole_pipeline(tmp_path, unbroken):
    """Each round is a fresh project killed at a moment drawn over the whole run, then run to its end."""
    planted, expected, seconds = unbroken
    chance = random.Random(2)
    killed = 0
    for number in range(KILLS):
        share = (number + chance.random()) / KILLS
        root = tmp_path / f"p{number}"
        for _ in range(3):
            shutil.rmtree(root, ignore_errors=True)
            write_project(root, planted)
            begin = time.monotonic()
            process = run(root)
            try:
                process.communicate(timeout=max(share * seconds, 0.05))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.communicate()
                killed += 1
                break
            # The run ended first: the machine was busier when the unbroken one was timed.
            seconds = min(seconds, time.monotonic() - begin)
        process = run(root)
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors.decode()
        assert_same(outcome(root), expected)
    assert killed >= KILLS - 3
