"""Several processes that train together, each on its share of every batch; started by torchrun.

The gradients are added up in one message per step. With them go the loss and whether anyone ran out of memory, so that
all do the same next. One process is the same with nobody to talk to.
"""

import atexit
from collections.abc import Callable, Sequence
from datetime import timedelta
from itertools import chain
from typing import TypeVar

import numpy as np
import torch
from torch import distributed, nn

from trapline.core import torchrun
from trapline.core.errors import TraplineError

Value = TypeVar("Value")
PATIENCE = timedelta(hours=2)  # others wait while the first evaluates on val


class Processes:
    """Those that train together.

    Args:
        rank: This one's number, from 0. Only 0 writes files and speaks.
        world: How many there are.
    """

    def __init__(self, rank: int = 0, world: int = 1):
        self.rank, self.world = rank, world

    @property
    def first(self) -> bool:
        """Whether this is the one that writes and speaks."""
        return self.rank == 0

    def share(self, n: int) -> slice:
        """This process's part of a batch of `n`."""
        bounds = np.linspace(0, n, self.world + 1).round().astype(int)
        return slice(int(bounds[self.rank]), int(bounds[self.rank + 1]))

    def add_up(self, model: nn.Module, values: Sequence[float]) -> list[float]:
        """Sum every gradient of `model`, in place, and `values`, over the processes.

        Raises:
            TraplineError: Another process is gone.
        """
        if self.world == 1:
            return list(values)
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        for parameter in trained:
            if parameter.grad is None:  # a share without crops, or memory ran out before
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in trained if parameter.grad is not None]
        told = torch.tensor(values, dtype=torch.float32, device=trained[0].device)
        flat = torch.cat([*(gradient.reshape(-1) for gradient in gradients), told])
        self._talk(lambda: distributed.all_reduce(flat))
        parts = flat.split([*(gradient.numel() for gradient in gradients), len(values)])
        for gradient, part in zip(gradients, parts, strict=False):
            gradient.copy_(part.view(gradient.shape))
        return parts[-1].tolist()

    def average(self, tensors: Sequence[torch.Tensor]) -> None:
        """Make every tensor the mean over the processes, in place."""
        if self.world > 1:
            for tensor in tensors:
                self._talk(lambda tensor=tensor: distributed.all_reduce(tensor))
                tensor.div_(self.world)

    def from_first(self, value: Value) -> Value:
        """The first process's value (of plain Python); the others' is ignored."""
        if self.world == 1:
            return value
        box = [value]
        self._talk(lambda: distributed.broadcast_object_list(box))
        return box[0]

    def copy_from_first(self, model: nn.Module) -> None:
        """Give every process the first one's weights and statistics."""
        if self.world > 1:
            for tensor in chain(model.parameters(), model.buffers()):
                self._talk(lambda tensor=tensor: distributed.broadcast(tensor.data, 0))

    def meet(self) -> None:
        """Wait until all are here. (A message from the first can be on its way while it goes on.)"""
        if self.world > 1:
            self._talk(distributed.barrier)

    def _talk(self, message: Callable[[], object]) -> None:
        try:
            message()
        except RuntimeError as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0][:160]
            raise TraplineError(
                f"another of the {self.world} training processes is gone ({reason}). Look for its own message above. "
                "The last checkpoint is good: the same command goes on from it."
            ) from None


def join(device: torch.device) -> Processes:
    """Meet the processes that torchrun started beside this one, as its environment variables say; or be alone."""
    if torchrun.place()[1] == 1:
        return Processes()
    if not distributed.is_initialized():
        if device.type == "cuda":
            torch.cuda.set_device(device)
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
        atexit.register(distributed.destroy_process_group)  # its threads, alive at the end, would abort the process
    return Processes(distributed.get_rank(), distributed.get_world_size())
