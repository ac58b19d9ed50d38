"""Two processes that train together end with what one alone ends with; and one that dies ends both."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time

import pytest
import torch

from projects import draw_small, write_project
from training import SMALL, draw, metrics, run, weights_of

pytestmark = pytest.mark.slow
BN_FREE = SMALL.model_copy(update={"model": "test_convnext", "epochs": 2, "lr": 0.003})


def start(folder, cfg, name, world=2):
    """The processes as torchrun would start them."""
    script = textwrap.dedent(f"""
        import os, sys, time
        import polars as pl
        from pathlib import Path
        from trapline.core.config import TrainConfig
        from trapline.core.errors import TraplineError
        from trapline.core.log import Log
        from trapline.core import cores
        from trapline.learn import loop
        from trapline.stages.train import train
        cores.usable_cores = lambda: 1
        if os.environ["RANK"] != "0":  # it comes late, to files that the first has written by then
            keeper = loop.Keeper
            loop.Keeper = lambda *args: time.sleep(3) or keeper(*args)
        cfg = TrainConfig.model_validate_json('''{cfg.model_dump_json()}''')
        try:
            train(pl.read_parquet("examples.parquet"), pl.read_parquet("splits.parquet"), cfg,
                  crops_dir=Path("crops"), run_dir=Path({name!r}), log=Log())
        except TraplineError as error:
            print(error, file=sys.stderr)
            os._exit(1)
    """)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {**os.environ, "WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [
        subprocess.Popen(
            [sys.executable, "-c", script],
            cwd=folder,
            env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world)
    ]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr("trapline.core.cores.usable_cores", lambda: 1)
    examples, splits = draw(tmp_path / "crops")
    examples.write_parquet(tmp_path / "examples.parquet")
    splits.write_parquet(tmp_path / "splits.parquet")
    return tmp_path, examples, splits


def test_two_processes_learn_what_one_learns(folder):
    root, examples, splits = folder
    run(root, examples, splits, BN_FREE, name="alone")
    for process in start(root, BN_FREE, "together"):
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    expected, found = weights_of(root / "alone"), weights_of(root / "together")
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=2e-5, rtol=1e-3)
    for one, other in zip(metrics(root / "alone"), metrics(root / "together"), strict=True):
        assert one["val_loss"] == pytest.approx(other["val_loss"], rel=1e-3)
    assert (root / "together/done.json").read_text() == (root / "alone/done.json").read_text()


def test_a_dead_process_ends_the_others_with_a_message(folder):
    root, *_ = folder
    long = BN_FREE.model_copy(update={"epochs": 2000, "patience": 2000})
    first, second = start(root, long, "run")
    until = time.monotonic() + 200
    story = root / "run/metrics.jsonl"
    while not story.exists() or story.read_text().count("\n") < 3:
        assert first.poll() is None
        assert time.monotonic() < until
        time.sleep(0.05)
    second.send_signal(signal.SIGKILL)
    second.communicate()
    _, errors = first.communicate(timeout=120)
    assert first.returncode == 1
    assert "another of the 2 training processes is gone" in errors
    assert "the same command goes on" in errors
    assert weights_of(root / "run")  # whole, and can be gone on from


def test_the_command_under_torchrun_trains_once(tmp_path):
    root = write_project(tmp_path / "p", draw_small(tmp_path / "drawn"))
    line = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "trapline", "train"]
    line += ["--head-start", "random", "--model", BN_FREE.model, "--project", str(root)]
    for again in (False, True):  # nothing to do the second time: the others must not wait for ever
        done = subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("epoch 2;") == (0 if again else 1)
    assert [path.name for path in (root / "runs").iterdir()] == [f"001-{BN_FREE.model}"]
