"""Where to compute, and what makes the same computation give the same numbers."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from trapline.core.errors import InputError


def resolve(name: str) -> torch.device:
    """The device that `auto`, `cpu`, `cuda` or `mps` means on this machine.

    Raises:
        InputError: The device that was asked for is not there.
    """
    found = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next(kind for kind in ("cuda", "mps", "cpu") if found[kind])
    if not found[name]:
        there = ", ".join(kind for kind, here in found.items() if here)
        raise InputError(f"device {name} is not available to torch here (it sees: {there}). Use --device auto.")
    if name == "cuda" and "LOCAL_RANK" in os.environ:  # one of several processes that torchrun started
        return torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    return torch.device(name)


def autocast(device: torch.device) -> torch.autocast:
    """Half precision on CUDA, full precision elsewhere.

    On CPUs with AMX, bfloat16 makes training of the default model slower (9.7 against 14 img/s), so it stays off.
    """
    return torch.autocast(device.type, dtype=half(device), enabled=device.type == "cuda")


def half(device: torch.device) -> torch.dtype:
    """The half precision that a device is good at."""
    return torch.float16 if device.type == "cuda" and not _native_bfloat16() else torch.bfloat16


def gradient_scaler(device: torch.device, precision: str) -> torch.amp.GradScaler:
    """Loss scaling, which float16 needs and the others do not."""
    return torch.amp.GradScaler(device.type, enabled=precision == "fp16")


def _native_bfloat16() -> bool:
    return torch.cuda.get_device_capability() >= (8, 0)  # a T4 (7.5) only emulates it, slowly


def seed_from(*parts: object) -> int:
    """A 63-bit seed from anything printable: the same parts give the same seed on every machine."""
    text = "\x1f".join(map(str, parts))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


@contextmanager
def isolated(device: torch.device, threads: int) -> Iterator[None]:
    """Work with `threads` torch threads and own random state; both are as before afterwards.

    Sums on the CPU depend on how many threads share them, so that equal weights need an equal number.
    """
    before = torch.get_num_threads()
    gpus = [torch.cuda.current_device()] if device.type == "cuda" else []
    torch.set_num_threads(threads)
    try:
        with torch.random.fork_rng(devices=gpus):
            yield
    finally:
        torch.set_num_threads(before)
