"""How much memory there is, what a step takes of it, and how running out of it looks."""

import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

# torch has one type for this on CUDA; elsewhere only the words tell.
_WORDS = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "cudnn_status_alloc_failed",
    "could not create a primitive",  # oneDNN, on the CPU
)
CGROUP_LIMITS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that the device's memory, or the machine's, is used up."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).casefold() for words in _WORDS)


def available(device: torch.device) -> int | None:
    """Bytes that can still be had on a device (the machine's memory for the CPU); None where it is not known."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    found = [room for limit, used in CGROUP_LIMITS if (room := _cgroup_room(Path(limit), Path(used))) is not None]
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        found += [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    except (OSError, ValueError):
        pass
    return min(found, default=None)


def _cgroup_room(limit: Path, used: Path) -> int | None:
    """What a container may still take; None without a limit."""
    try:
        most, now = limit.read_text().strip(), int(used.read_text())
        return None if most == "max" or int(most) > 1 << 60 else max(int(most) - now, 0)
    except (OSError, ValueError):
        return None


def peak(device: torch.device) -> int:
    """Most bytes in use so far: of the device, or of this process for the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if device.type == "mps":
        return torch.mps.driver_allocated_memory()
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def resident() -> int:
    """Bytes of this process in memory now; its peak where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return peak(torch.device("cpu"))


def kept_for_backward(model: nn.Module, forward: Callable[[], object]) -> int:
    """Bytes that a forward pass keeps for the backward pass, weights not counted."""
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = forward()  # alive until all is counted: an address is not given out twice
    total = sum(kept.values())
    del result
    return total


def release(device: torch.device) -> None:
    """Give cached, unused memory back, so that it can be had in other sizes."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
