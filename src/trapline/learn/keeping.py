"""The checkpoint files of a run: the best one to predict with, the last one to go on from, and the room they need."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from trapline.core.errors import TraplineError
from trapline.core.quantities import say_size
from trapline.io import atomic, run_copy
from trapline.io.away import Objects
from trapline.learn import checkpoint
from trapline.learn.checkpoint import Checkpoint
from trapline.learn.optimizer import MOMENTS

LAST, BEST = "last.pt", "best.pt"
SLACK = 16 << 20  # for everything else that a run writes


def bytes_of(model: nn.Module) -> tuple[int, int]:
    """About how large (best.pt, last.pt) of a model in training are."""
    weights = sum(tensor.nbytes for tensor in model.state_dict().values())
    trained = sum(parameter.nbytes for parameter in model.parameters() if parameter.requires_grad)
    return weights, 2 * weights + MOMENTS * trained


class Keeper:
    """Writes and reads `checkpoints/` of a run. A new file replaces the old one only when it is whole and on disk.

    Args:
        folder: The checkpoints' folder.
        most: Bytes that it may take (the file being written included); None for what is free.
        away: Where copies are put, with what else going on from them needs.
    """

    def __init__(self, folder: Path, most: int | None, away: Objects | None = None):
        self.folder, self.most, self.away = folder, most, away

    @property
    def begun(self) -> bool:
        """Whether there is a training to go on with."""
        return (self.folder / LAST).exists()

    def check_room(self, model: nn.Module) -> None:
        """Raise now where the disk would be full hours into training.

        Raises:
            TraplineError: The disk, or `most`, does not hold the checkpoints and the one being written.
        """
        best, last = bytes_of(model)
        peak = best + last + max(best, last)
        if self.most is not None and peak > self.most:
            raise TraplineError(
                f"checkpoints of this model take up to {say_size(peak)} (best {say_size(best)}, last {say_size(last)}, "
                f"and the one being written), and --max-disk allows {say_size(self.most)}. Allow more, freeze more of "
                "the model (--freeze), or train a smaller one."
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        for left in self.folder.glob(f"*{atomic.BESIDE}*"):  # a kill while a checkpoint was written
            left.unlink(missing_ok=True)
        there = sum(path.stat().st_size for path in self.folder.iterdir() if path.is_file())
        free = shutil.disk_usage(self.folder).free + there
        if peak + SLACK > free:
            raise TraplineError(
                f"checkpoints of this model take up to {say_size(peak)} of disk, and {say_size(free)} are free at "
                f"{self.folder}. Free some space, or put the project on a larger disk; the same command then starts."
            )

    def save_best(self, content: Checkpoint) -> None:
        """Replace best.pt."""
        checkpoint.save(self.folder / BEST, content)
        if self.away is not None:
            run_copy.send(self.folder.parent, self.away, run_copy.BEST)

    def save_last(self, content: Checkpoint, state: Mapping[str, Any]) -> None:
        """Replace last.pt."""
        checkpoint.save(self.folder / LAST, content, state)
        if self.away is not None:  # last.pt at the end: what it speaks of is there by then
            run_copy.send(self.folder.parent, self.away, *run_copy.BESIDE, run_copy.LAST)

    def read_last(self, labels: tuple[str, ...], model: str) -> tuple[Checkpoint, dict[str, Any]]:
        """last.pt, if it is of this training.

        Raises:
            TraplineError: It is of another model or other labels; says which.
        """
        path = self.folder / LAST
        saved, state = checkpoint.load_with_state(path)
        problem = None
        if state is None:
            problem = "it holds no optimiser"
        elif saved.model != model:
            problem = f"it is of {saved.model}, not {model}"
        elif saved.labels != labels:
            gone, new = sorted(set(saved.labels) - set(labels)), sorted(set(labels) - set(saved.labels))
            changes = [f"{len(gone)} gone ({', '.join(gone[:5])})"] if gone else []
            changes += [f"{len(new)} new ({', '.join(new[:5])})"] if new else []
            problem = f"the labels changed since: {', '.join(changes) or 'their order'}"
        if problem is not None or state is None:
            raise TraplineError(
                f"{path} cannot be gone on from: {problem}. Train in a new run folder; to start from what it learnt, "
                f"use --weights {path} (labels of the same name keep their outputs)."
            )
        return saved, state
