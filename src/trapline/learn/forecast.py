"""What a training will take, from a trial of some steps of it that leaves nothing behind."""

import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from trapline.core.config import TrainConfig
from trapline.core.log import Log
from trapline.learn import device as devices
from trapline.learn import keeping, memory
from trapline.learn.clock import Clock
from trapline.learn.loop import Training
from trapline.learn.processes import Processes
from trapline.learn.task import Task
from trapline.learn.transforms import Transform
from trapline.learn.weights import Weights

STEPS = 20
WARM = 3  # the first of them, which are slower
CROPS = 128  # at most, of which features and scores are timed
BESIDES = 3 << 20  # bytes of a run's other files, and of each epoch's pictures below
PER_EPOCH = 20  # bytes of TensorBoard's pictures per pixel of the input


@dataclass(frozen=True)
class Forecast:
    """What a training takes.

    Args:
        device: Where it computes, in words.
        memory: Most bytes of the device's memory in use; of this process for the CPU.
        disk: Bytes of the run's folder at its end; `peak` while a checkpoint is written.
        crops, val_crops: Trained on per epoch, and judged by after each.
        epochs: At most.
        start_s: Seconds before the first epoch (the probe).
        epoch_s: Seconds of an epoch, its evaluation and checkpoint included.
        micro_batch, precision: How it would compute.
    """

    device: str
    memory: int
    disk: int
    peak: int
    crops: int
    val_crops: int
    epochs: int
    start_s: float
    epoch_s: float
    micro_batch: int
    precision: str

    @property
    def total_s(self) -> float:
        """Seconds of the whole training, if it is not stopped early."""
        return self.start_s + self.epochs * self.epoch_s


def forecast(
    task: Task,
    cfg: TrainConfig,
    transform: Transform,
    *,
    folder: Path,
    device: torch.device,
    threads: int,
    start: Weights | None = None,
) -> Forecast:
    """Train for a few steps in an empty folder, and say what the whole of it takes.

    Raises:
        TraplineError: As the training would.
    """
    log = _Stopping(STEPS)
    with devices.isolated(device, threads):
        training = Training(
            task,
            cfg,
            transform,
            run_dir=folder,
            device=device,
            trained={},
            log=log,
            start=start,
            processes=Processes(),
            clock=Clock(None),
        )
        try:
            per_feature = training.seconds_per_crop(task.paths[:CROPS])
            per_score = training.seconds_per_crop(task.val_paths[:CROPS]) if task.val_paths else 0.0
            step_s = 0.0
            if training.recipe.epochs:
                while not log.stopped:
                    try:
                        training.train_epoch(log.advance)
                    except _Enough:
                        break
                    training.now.batch = 0
                step_s = statistics.median(log.seconds()[WARM:] or log.seconds())
            begin = time.monotonic()
            training.save()
            save_s = time.monotonic() - begin
        finally:
            training.close()
        best, last = keeping.bytes_of(training.model)
        probe_s = 0.0 if training.recipe.head_start == "random" else per_feature * min(len(task.paths), 20_000)
        pictures = PER_EPOCH * transform.image_size**2
        disk = best + last + BESIDES + training.recipe.epochs * pictures
        val_s = per_score * len(task.val_paths)
        return Forecast(
            device=str(device),
            memory=memory.peak(device),
            disk=disk,
            peak=disk + max(best, last),
            crops=len(task.paths),
            val_crops=len(task.val_paths),
            epochs=training.recipe.epochs,
            start_s=probe_s + val_s,
            epoch_s=training.per_epoch * step_s + val_s + 2 * save_s,
            micro_batch=training.stepper.micro_batch,
            precision=training.precision,
        )


class _Enough(Exception):
    """The trial is long enough."""


class _Stopping(Log):
    """Times every step, and ends the trial after some."""

    def __init__(self, steps: int):
        super().__init__()
        self.steps, self.stopped = steps, False
        self.times = [time.monotonic()]

    def advance(self, n: int = 1, info: str = "") -> None:
        """A step is done."""
        del n, info
        self.times.append(time.monotonic())
        if len(self.times) > self.steps:
            self.stopped = True
            raise _Enough

    def seconds(self) -> list[float]:
        """Of each step."""
        return [after - before for before, after in zip(self.times, self.times[1:], strict=False)]
