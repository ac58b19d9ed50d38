"""A run's checkpoints in the storage too, with what belongs to them: enough to go on, or predict, on another machine.

The folder comes first: what lies in it is never replaced by what lies in the storage.
"""

import contextlib
from pathlib import Path

from trapline.io.away import Objects
from trapline.io.runs import MADE_FROM

BEST, LAST = "checkpoints/best.pt", "checkpoints/last.pt"
BESIDE = ("params.json", "machine.json", "metrics.jsonl")  # what going on from a checkpoint needs
DONE = "done.json"


def adopt(runs: Path, away: Objects) -> None:
    """Note in the project's folder which runs the storage knows, so that one of them can be gone on with."""
    for name in away.folders():
        if not (runs / name).exists():
            with contextlib.suppress(FileNotFoundError):
                away.inside(name).bring(MADE_FROM, runs / name / MADE_FROM)


def bring(run_dir: Path, away: Objects) -> None:
    """Bring what the run's folder lacks. done.json comes last: a run that has it has everything."""
    for name in (*BESIDE, BEST, LAST, DONE):
        bring_one(run_dir, away, name)


def bring_one(run_dir: Path, away: Objects, name: str) -> None:
    """Bring a file, if the run's folder lacks it and the storage has it."""
    if not (run_dir / name).exists():
        with contextlib.suppress(FileNotFoundError):
            away.bring(name, run_dir / name)


def send(run_dir: Path, away: Objects, *names: str) -> None:
    """Store files of the run, in this order; those that do not exist are left out."""
    for name in names:
        if (run_dir / name).exists():
            away.send(name, run_dir / name)
