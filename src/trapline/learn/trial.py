"""Trial steps: how many crops fit into memory at a time, and whether half precision is faster here.

What is found is written into the run's folder before training begins, so that going on after a kill uses the same.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import msgspec
import numpy as np
import torch
from torch import nn

from trapline.core.config import TrainConfig
from trapline.io import atomic
from trapline.learn import memory
from trapline.learn.step import Stepper
from trapline.learn.transforms import Transform, to_input

MACHINE = "machine.json"
TRIAL_STEPS = 3  # timed ones of each precision, after one that is not
TRIAL_CROPS = 16  # in a trial step that is timed
LEAST_STEPS = 200  # shorter trainings are not worth a comparison
FASTER = 1.2  # by how much half precision must be faster: a toss-up would differ from run to run
CPU_SHARE = 0.5  # of the free memory that what a step keeps may take on the CPU, where too much ends in a kill
BESIDES = 2.0  # memory of a step over what its forward pass keeps: gradients and what convolutions work with

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Machine(msgspec.Struct):
    """machine.json: how a training computes on the machine it is on.

    Args:
        device: What it was found on, in words.
        micro_batch: Crops in memory at a time.
        precision: Of the forward and backward pass.
        images_per_s: Precision -> crops per second in trial steps; empty where none were timed.
    """

    device: str
    micro_batch: int
    precision: str
    images_per_s: dict[str, float] = {}

    def lines(self, most: int) -> list[str]:
        """What a person is told; `most` is the share of a batch that one process takes."""
        told = []
        if self.micro_batch < most:
            told.append(f"{self.micro_batch} crops in memory at a time, {most} per step: their gradients are added up")
        if self.images_per_s:
            rates = ", ".join(f"{name} {rate:,.1f}" for name, rate in self.images_per_s.items())
            told.append(f"arithmetic: {self.precision} (crops per second in trial steps: {rates})")
        return told


def name_of(device: torch.device) -> str:
    """A device in words: one machine's GPU is not another's."""
    return f"cuda: {torch.cuda.get_device_name(device)}" if device.type == "cuda" else device.type


def read(run_dir: Path) -> Machine | None:
    """What was found for this run, or None."""
    try:
        return msgspec.json.decode((run_dir / MACHINE).read_bytes(), type=Machine)
    except (OSError, msgspec.DecodeError):
        return None


def write(run_dir: Path, machine: Machine) -> None:
    """Keep it for this run."""
    data = msgspec.json.format(msgspec.json.encode(machine), indent=2)
    atomic.replace(run_dir / MACHINE, lambda stream: stream.write(data))


def candidates(device: torch.device) -> list[str]:
    """Precisions worth trying: full, and the half precision that this hardware computes in."""
    if device.type == "cuda":
        return ["fp32", "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp16"]  # a T4 is 7.5
    able = torch.cpu.get_capabilities()  # without these bfloat16 is computed by conversion, many times slower
    has = device.type == "cpu" and (able.get("amx_bf16") or able.get("avx512_bf16"))
    return ["fp32", "bf16"] if has else ["fp32"]


def autocast(device: torch.device, precision: str) -> Callable[[], AbstractContextManager[object]]:
    """A fresh context for a forward pass in a precision."""
    dtype = DTYPES[precision]
    half = dtype is not torch.float32
    return lambda: torch.autocast(device.type, dtype=dtype if half else None, enabled=half)


class Trial:
    """Tries out how a model trains on a device, and leaves the model as it was.

    Args:
        model: In training mode.
        stepper: Makes what takes steps, from a precision and a micro-batch.
        targets: Of the training; their kind matters.
    """

    def __init__(
        self,
        model: nn.Module,
        stepper: Callable[[str, int], Stepper],
        transform: Transform,
        device: torch.device,
        targets: np.ndarray,
    ):
        self.model, self.stepper, self.transform, self.device = model, stepper, transform, device
        self.targets = targets

    def machine(self, cfg: TrainConfig, most: int, steps: int) -> Machine:
        """How to compute here.

        Args:
            most: Crops of a batch that this process takes.
            steps: That the training will have.
        """
        found = Machine(name_of(self.device), most, "fp32" if cfg.precision == "auto" else cfg.precision)
        if not steps:
            return found
        on_cpu = self.device.type == "cpu"
        with rehearsal(self.model):
            if on_cpu and not cfg.micro_batch:
                found.micro_batch = fitting(most, self.bytes_per_crop(), memory.available(self.device))
            names = candidates(self.device)
            if cfg.precision == "auto" and len(names) > 1 and steps >= LEAST_STEPS:
                found.images_per_s = self._rates(names, min(found.micro_batch, TRIAL_CROPS))
                found.precision = choose(found.images_per_s)
            if not on_cpu and not cfg.micro_batch:
                found.micro_batch = self.rehearse(found.precision, most)
        return found

    def bytes_per_crop(self) -> float:
        """About what a step takes of memory for each crop."""
        images = to_input(noise(2, self.transform.image_size), self.transform, self.device)
        return BESIDES * memory.kept_for_backward(self.model, lambda: self.model(images)) / len(images)

    def rehearse(self, precision: str, crops: int) -> int:
        """The gradients of a batch of noise, not used; returns the micro-batch that it took."""
        stepper = self.stepper(precision, crops)
        targets = np.zeros((crops, *self.targets.shape[1:]), dtype=self.targets.dtype)
        stepper.gradients(noise(crops, self.transform.image_size), targets, of=crops, seed=0)
        stepper.optimizer.zero_grad(set_to_none=True)
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return stepper.micro_batch

    def _rates(self, names: Sequence[str], crops: int) -> dict[str, float]:
        """Crops per second of each precision: the median of steps taken in turn, so that a busy moment hits all."""
        for name in names:
            self.rehearse(name, crops)
        times: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(TRIAL_STEPS):
            for name in names:
                begin = time.perf_counter()
                self.rehearse(name, crops)
                times[name].append(time.perf_counter() - begin)
        return {name: round(crops / statistics.median(found), 2) for name, found in times.items()}


def fitting(batch_size: int, bytes_per_crop: float, free: int | None) -> int:
    """The largest of batch_size, its half, its quarter ... whose steps take at most CPU_SHARE of the free memory.

    For the CPU: a machine that runs out of memory kills the process rather than telling it, so this is computed, not
    tried.

    Args:
        free: Bytes; None where it is not known: then the whole batch.
    """
    while free is not None and batch_size > 1 and batch_size * bytes_per_crop > CPU_SHARE * free:
        batch_size = -(-batch_size // 2)
    return batch_size


class rehearsal:
    """A `with` after which the model's BatchNorm statistics and the random state are as before."""

    def __init__(self, model: nn.Module):
        self.model = model

    def __enter__(self) -> None:
        self.buffers = [buffer.clone() for buffer in self.model.buffers()]
        self.state = torch.get_rng_state()

    def __exit__(self, *exception: object) -> None:
        torch.set_rng_state(self.state)
        with torch.no_grad():
            for buffer, value in zip(self.model.buffers(), self.buffers, strict=True):
                buffer.copy_(value)


def noise(n: int, size: int) -> np.ndarray:
    """Crops of noise: uint8 [n, size, size, 3]."""
    return np.random.default_rng(0).integers(0, 255, (n, size, size, 3), dtype=np.uint8)


def choose(rates: dict[str, float]) -> str:
    """Half precision where it is clearly faster, else full."""
    best = max(rates, key=lambda name: rates[name])
    return best if rates[best] >= FASTER * rates["fp32"] else "fp32"
