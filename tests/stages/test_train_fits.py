"""Training in too little memory, on a full disk, in too little time."""

import json
import random
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from training import SMALL, assert_same_run, draw, metrics, run, weights_of
from trapline.core.errors import TraplineError
from trapline.core.log import Log
from trapline.learn import checkpoint, memory
from trapline.learn.clock import TimeIsUp
from trapline.learn.step import Stepper

BN_FREE = SMALL.model_copy(update={"model": "test_convnext", "epochs": 15, "batch_size": 48, "lr": 0.003})


pytestmark = pytest.mark.usefixtures("one_core")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, one_core):
    """15 steps of a model without BatchNorm."""
    folder = tmp_path_factory.mktemp("undisturbed")
    data = draw(folder / "crops", each=8)
    run(folder, *data, BN_FREE)
    return folder, *data


def breaking(monkeypatch, steps):
    """Memory runs out in the backward pass of the given optimiser steps, once each."""
    accumulate = Stepper._accumulate
    left = set(steps)
    seen: list[int] = []

    def fragile(self, pixels, targets, of):
        number = int(self.optimizer.state[self.optimizer.param_groups[0]["params"][0]]["step"])
        loss = accumulate(self, pixels, targets, of)
        if number in left:
            left.remove(number)
            seen.append(number)
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return loss

    monkeypatch.setattr(Stepper, "_accumulate", fragile)
    return seen


def test_out_of_memory_at_five_random_steps_changes_nothing(undisturbed, monkeypatch):
    folder, examples, splits = undisturbed
    steps = random.Random(0).sample(range(15), 5)
    seen = breaking(monkeypatch, steps)
    log = Log()
    run(folder, examples, splits, BN_FREE, name="broken", log=log)
    assert sorted(seen) == sorted(steps)
    told = [warning for warning in log.warnings if "memory ran out" in warning]
    assert len(told) == 5
    assert "the step is repeated with 24 crops in memory at a time instead of 48" in told[0]
    assert "BatchNorm" not in told[0]
    expected, found = weights_of(folder / "run"), weights_of(folder / "broken")
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=2e-5, rtol=1e-3)
    pairs = zip(metrics(folder / "run"), metrics(folder / "broken"), strict=True)
    for one, other in pairs:
        if one["epoch"]:
            assert one["train_loss"] == pytest.approx(other["train_loss"], rel=1e-4)
        assert one["val_macro_recall"] == other["val_macro_recall"]
    assert [row["micro_batch"] for row in metrics(folder / "broken")][-1] == 1
    assert any(torch.ne(found[name], value).any() for name, value in expected.items())  # it did take another way


def test_a_killed_training_goes_on_with_the_micro_batch_that_fitted(undisturbed, monkeypatch, tmp_path):
    """Bit for bit as one that was not killed, but ran out of memory at the same step."""
    folder, examples, splits = undisturbed
    (tmp_path / "crops").symlink_to(folder / "crops")
    breaking(monkeypatch, [2])
    run(tmp_path, examples, splits, BN_FREE, name="whole", epochs=4)
    monkeypatch.undo()
    monkeypatch.setattr("trapline.core.cores.usable_cores", lambda: 1)
    breaking(monkeypatch, [2])
    begin = time.monotonic()
    monkeypatch.setattr("trapline.learn.clock.SPARE_S", 1e9)  # there is never time for another step
    stops = 0
    while True:
        try:
            run(tmp_path, examples, splits, BN_FREE, name="pieces", epochs=4, time_budget="1s")
            break
        except TimeIsUp:
            stops += 1
            assert time.monotonic() - begin < 120
    assert stops >= 4
    assert_same_run(tmp_path / "whole", tmp_path / "pieces")


def test_moving_statistics_are_mentioned(undisturbed, monkeypatch, tmp_path):
    folder, examples, splits = undisturbed
    (tmp_path / "crops").symlink_to(folder / "crops")
    breaking(monkeypatch, [1])
    log = Log()
    run(tmp_path, examples, splits, SMALL, epochs=1, log=log)
    assert "BatchNorm now takes its statistics over fewer crops" in " ".join(log.warnings)


@contextmanager
def small_disk(folder: Path, megabytes: float):
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={round(megabytes * 1e6)}", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_too_small_is_said_at_once(tmp_path):
    data = draw(tmp_path / "crops")
    with small_disk(tmp_path / "disk", 20), pytest.raises(TraplineError, match=r"take up to .* of disk, and .* free"):
        run(tmp_path, *data, name="disk/run")


def test_a_disk_that_fills_up_costs_no_checkpoint(tmp_path):
    """Something else fills the disk after the first epoch: the message says so, and the run goes on later."""
    data = draw(tmp_path / "crops")
    run(tmp_path, *data)

    class Filling(Log):
        def note(self, text):
            if text.startswith("epoch 1;"):
                with open(tmp_path / "disk/other", "wb", buffering=0) as stream:
                    while True:
                        try:
                            stream.write(b"x" * 50_000)
                        except OSError:
                            return

    with small_disk(tmp_path / "disk", 40):
        with pytest.raises(TraplineError, match=r"the disk is full\. Free some space and run the same command again"):
            run(tmp_path, *data, name="disk/run", log=Filling())
        assert checkpoint.load(tmp_path / "disk/run/checkpoints/last.pt").epoch == 1
        assert checkpoint.load(tmp_path / "disk/run/checkpoints/best.pt").labels == ("ant", "bee", "cat")
        (tmp_path / "disk/other").unlink()
        run(tmp_path, *data, name="disk/run")
        assert_same_run(tmp_path / "run", tmp_path / "disk/run")


def test_checkpoints_stay_within_max_disk(tmp_path):
    data = draw(tmp_path / "crops")
    with pytest.raises(TraplineError, match=r"take up to 3\.\d MB \(best 4\d\d kB, .*--max-disk allows 3.0 MB"):
        run(tmp_path, *data, max_disk="3MB")
    (tmp_path / "run/checkpoints").mkdir(parents=True, exist_ok=True)
    (tmp_path / "run/checkpoints/last.pt.partial77").write_bytes(b"left by a kill")
    run(tmp_path, *data, max_disk="20MB")
    assert sorted(path.name for path in (tmp_path / "run/checkpoints").iterdir()) == ["best.pt", "last.pt"]


def test_a_time_budget_stops_cleanly_and_goes_on(tmp_path):
    data = draw(tmp_path / "crops")
    run(tmp_path, *data)
    with pytest.raises(TimeIsUp, match=r"stopped after .*, at epoch 1, step \d of 3.*the same command goes on"):
        run(tmp_path, *data, name="budget", time_budget="3s")  # 5 s are kept for ending
    assert not (tmp_path / "budget/done.json").exists()
    log = Log()
    run(tmp_path, *data, name="budget", time_budget="1h", log=log)
    assert any("goes on from its checkpoint" in note for note in log.notes)
    assert_same_run(tmp_path / "run", tmp_path / "budget")


def test_the_micro_batch_is_recorded(tmp_path, monkeypatch):
    data = draw(tmp_path / "crops")
    monkeypatch.setattr(memory, "available", lambda device: 3_000_000)
    log = Log()
    run(tmp_path, *data, epochs=1, log=log)
    machine = json.loads((tmp_path / "run/machine.json").read_text())
    assert machine["device"] == "cpu"
    assert machine["precision"] == "fp32"
    assert 1 <= machine["micro_batch"] < 8
    assert any(f"{machine['micro_batch']} crops in memory at a time, 8 per step" in note for note in log.notes)
    assert metrics(tmp_path / "run")[1]["micro_batch"] == machine["micro_batch"]
