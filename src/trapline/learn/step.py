"""One optimiser step over a batch of any size, in as much memory as there is.

The batch is gone through in micro-batches whose gradients add up. Where memory runs out, the micro-batch is halved and
the step repeated from its beginning: nothing of the failed attempt is left, neither gradients nor BatchNorm statistics,
and the same random numbers are drawn again.
"""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import pairwise

import numpy as np
import torch
from torch import nn

from trapline.core.errors import TraplineError
from trapline.learn import memory, objective
from trapline.learn.processes import Processes

Norm = nn.modules.batchnorm._BatchNorm


class NotFinite(Exception):
    """The loss or a gradient is no number; `what` says which."""

    def __init__(self, what: str):
        self.what = what
        super().__init__(what)


class Stepper:
    """Moves a model by one batch at a time.

    Args:
        model: In training mode where it is to train; its parameters are those of `optimizer`.
        forward: The model's outputs for a normalised batch; the model itself, or compiled.
        prepare: From uint8 [n, size, size, 3] to the model's input, on the device.
        autocast: A fresh context for the forward pass.
        clip_norm: Longer gradients are shortened to this; None: never.
        micro_batch: Crops at a time to begin with.
        shrunk: Told the new micro-batch after memory ran out.
    """

    def __init__(
        self,
        model: nn.Module,
        forward: Callable[[torch.Tensor], torch.Tensor],
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
        *,
        prepare: Callable[[np.ndarray], torch.Tensor],
        autocast: Callable[[], AbstractContextManager[object]],
        device: torch.device,
        smoothing: float,
        clip_norm: float | None,
        micro_batch: int,
        processes: Processes,
        shrunk: Callable[[int], None],
    ):
        self.model, self.forward, self.optimizer, self.scaler = model, forward, optimizer, scaler
        self.prepare, self.autocast, self.device = prepare, autocast, device
        self.smoothing, self.clip_norm = smoothing, math.inf if clip_norm is None else clip_norm
        self.micro_batch, self.processes, self.shrunk = micro_batch, processes, shrunk
        self._norm: torch.Tensor | None = None

    def take(self, pixels: np.ndarray, targets: np.ndarray, *, of: int, seed: int) -> float:
        """One step; returns the batch's mean loss.

        Args:
            pixels, targets: This process's share of the batch; may be empty.
            of: Crops of the whole batch.
            seed: Of dropout and the like.

        Raises:
            NotFinite: The loss is no number. The weights are as before the step.
            TraplineError: Not even the smallest micro-batch fits; or another process is gone.
        """
        loss = self.gradients(pixels, targets, of=of, seed=seed)
        if not np.isfinite(loss):
            raise NotFinite(f"the loss is {loss}")
        self.scaler.unscale_(self.optimizer)
        self._norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_norm)
        if self.device.type == "cpu":
            self.settle()
        try:
            self.scaler.step(self.optimizer)
        except Exception as error:
            if not memory.is_out_of_memory(error):
                raise
            raise TraplineError(
                f"memory ran out while the weights were being changed ({self.device}). The last checkpoint is good: "
                "close what else uses the memory, then go on with the same command."
            ) from None
        self.scaler.update()
        self.processes.average(self.moving())
        return loss

    def settle(self) -> None:
        """Raise NotFinite if the gradient of the last step was no number.

        On a GPU this is asked one step later (and before every checkpoint), so that nothing waits for the answer.
        With loss scaling such gradients are expected, and the scaler leaves them out.
        """
        norm, self._norm = self._norm, None
        if norm is not None and not self.scaler.is_enabled() and not torch.isfinite(norm).item():
            raise NotFinite("a gradient is not a number")

    def gradients(self, pixels: np.ndarray, targets: np.ndarray, *, of: int, seed: int) -> float:
        """The mean loss over the whole batch, its gradient left in the parameters; smaller micro-batches if needed."""
        before = [buffer.clone() for buffer in self.moving()]
        while True:
            short, reason, loss = False, "", 0.0
            self.optimizer.zero_grad(set_to_none=True)
            torch.manual_seed(seed)
            try:
                loss = self._accumulate(pixels, targets, of)
            except Exception as error:  # torch has no common type for running out of memory
                if not memory.is_out_of_memory(error):
                    raise
                short, reason = True, (str(error).splitlines() or [""])[0][:120]
            # The exception is gone by now, and the tensors that its frames held.
            loss, anyone_short = self.processes.add_up(self.model, [loss, float(short)])
            if not anyone_short:
                return loss
            self.optimizer.zero_grad(set_to_none=True)
            for buffer, value in zip(self.moving(), before, strict=True):
                buffer.copy_(value)
            memory.release(self.device)
            self._halve(len(targets), reason)

    def _accumulate(self, pixels: np.ndarray, targets: np.ndarray, of: int) -> float:
        n = len(targets)
        pieces = -(-n // self.micro_batch)
        if self.moving():
            pieces = min(pieces, max(n // 2, 1))  # one crop has no statistics
        bounds = np.linspace(0, n, pieces + 1).round().astype(int) if n else [0]
        total = 0.0
        for start, stop in pairwise(bounds):
            images = self.prepare(pixels[start:stop])
            wanted = torch.as_tensor(targets[start:stop], device=self.device)
            with self.autocast():
                outputs = self.forward(images)
            loss = objective.loss_sum(outputs, wanted, self.smoothing) / of
            total += loss.item()
            self.scaler.scale(loss).backward()
        return total

    def _halve(self, n: int, reason: str) -> None:
        now = min(self.micro_batch, max(n, 1))
        least = 2 if self.moving() else 1
        if now <= least:
            raise TraplineError(
                f"the memory of {self.device} does not hold a step with {now} crop(s) at a time ({reason}). Try a "
                "smaller --image-size or a smaller --model, freeze more of it (--freeze 0.8), or close what else uses "
                "the memory. The last checkpoint is good."
            )
        self.micro_batch = max(now // 2, least)
        self.shrunk(self.micro_batch)

    def moving(self) -> list[torch.Tensor]:
        """BatchNorm statistics that training changes."""
        norms = [module for module in self.model.modules() if isinstance(module, Norm) and module.training]
        buffers = [(norm.running_mean, norm.running_var) for norm in norms]
        return [buffer for pair in buffers for buffer in pair if buffer is not None]
