"""A run's story: one JSON line per epoch, and the same as TensorBoard scalars."""

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec
from torch.utils.tensorboard import SummaryWriter

from trapline.io.atomic import disk_error

METRICS = "metrics.jsonl"
TENSORBOARD = "tensorboard"


class History:
    """Appends to `metrics.jsonl` and `tensorboard/` of a run folder.

    Args:
        run_dir: The run's folder.
        size: Bytes of metrics.jsonl that the checkpoint knows; what a kill left beyond them is cut off.
        epoch: The first epoch still to come, from which TensorBoard is to forget.
    """

    def __init__(self, run_dir: Path, *, size: int, epoch: int):
        self.path = run_dir / METRICS
        try:
            with open(self.path, "ab") as stream:
                stream.truncate(size)
                os.fsync(stream.fileno())
        except OSError as error:
            raise disk_error(error, self.path) from error
        self._scalars = SummaryWriter(str(run_dir / TENSORBOARD), purge_step=epoch)

    def append(self, row: Mapping[str, float | int | None]) -> int:
        """Add one epoch, durably; returns the new size of metrics.jsonl."""
        try:
            with open(self.path, "ab") as stream:
                stream.write(msgspec.json.encode(row) + b"\n")
                stream.flush()
                os.fsync(stream.fileno())
                size = stream.tell()
        except OSError as error:
            raise disk_error(error, self.path) from error
        for name, value in row.items():
            if value is not None and name != "epoch":
                self._scalars.add_scalar(name, value, row["epoch"])
        self._scalars.flush()
        return size

    def close(self) -> None:
        """End the writer's thread."""
        self._scalars.close()
