"""A run's story: one JSON line per epoch, and the same as TensorBoard scalars and in a tracking service."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
from torch.utils.tensorboard import SummaryWriter

from trapline.io.atomic import disk_error
from trapline.learn.tracking import Tracker

METRICS = "metrics.jsonl"
TENSORBOARD = "tensorboard"


class History:
    """Appends to `metrics.jsonl` and `tensorboard/` of a run folder.

    Args:
        run_dir: The run's folder.
        size: Bytes of metrics.jsonl that the checkpoint knows; what a kill left beyond them is cut off.
        epoch: The first epoch still to come, from which TensorBoard is to forget.
        tracker: Is told every line, too. Default: nobody is.
    """

    def __init__(self, run_dir: Path, *, size: int, epoch: int, tracker: Tracker | None = None):
        self.path = run_dir / METRICS
        self._tracker = tracker
        try:
            with open(self.path, "ab") as stream:
                stream.truncate(size)
                os.fsync(stream.fileno())
        except OSError as error:
            raise disk_error(error, self.path) from error
        self._folder = run_dir / TENSORBOARD
        with self._disk_errors():
            self._scalars = SummaryWriter(str(self._folder), purge_step=epoch)

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
        with self._disk_errors():
            for name, value in row.items():
                if value is not None and name != "epoch":
                    self._scalars.add_scalar(name, value, row["epoch"])
            self._scalars.flush()
        if self._tracker is not None:
            self._tracker.log(row)
        return size

    def show_scalar(self, name: str, value: float, epoch: int) -> None:
        """A figure that only TensorBoard holds."""
        with self._disk_errors():
            self._scalars.add_scalar(name, value, epoch)

    def show_images(self, name: str, pixels: np.ndarray, epoch: int) -> None:
        """Pictures for TensorBoard, uint8 [n, height, width, 3]."""
        with self._disk_errors():
            self._scalars.add_images(name, pixels, epoch, dataformats="NHWC")

    def show_text(self, name: str, text: str, epoch: int) -> None:
        """A text for TensorBoard."""
        with self._disk_errors():
            self._scalars.add_text(name, text, epoch)

    @contextmanager
    def _disk_errors(self) -> Iterator[None]:
        """TensorBoard writes in a thread, and what the disk refused comes out at a later call."""
        try:
            yield
        except OSError as error:
            raise disk_error(error, self._folder) from error

    def close(self) -> None:
        """End the writer's thread. What it could not write was told before, or is told by what comes next."""
        if self._tracker is not None:
            self._tracker.close()
        with contextlib.suppress(OSError):
            self._scalars.close()
