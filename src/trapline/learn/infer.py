"""The one inference loop: crops in, scores or features out. Used by embed, predict, the probe and validation."""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, TypeVar

import numpy as np
import torch
from torch import nn

from trapline.core import cores
from trapline.core.errors import TraplineError
from trapline.io import places
from trapline.io.images import ImageFailure
from trapline.io.places import Source
from trapline.learn import device as devices
from trapline.learn import memory, objective
from trapline.learn.loader import load_ahead
from trapline.learn.models import features
from trapline.learn.transforms import Transform, load_for_evaluation, to_input

Item = TypeVar("Item")


class Halving:
    """A function of a batch, in as much memory as there is: smaller parts where it runs out.

    Args:
        function: From uint8 [n, size, size, 3] to float32 [n, width], each row by itself.
        most: Rows at a time.
    """

    def __init__(self, function: Callable[[np.ndarray], np.ndarray], most: int, device: torch.device):
        self.function, self.most, self.device = function, most, device

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        found: list[np.ndarray] = []
        done = 0
        while done < len(pixels):
            part = pixels[done : done + self.most]
            try:
                found.append(self.function(part))
                done += len(part)
                continue
            except Exception as error:  # torch has no common type for running out of memory
                if not memory.is_out_of_memory(error):
                    raise
            if len(part) == 1:
                raise TraplineError(
                    f"the memory of {self.device} does not hold a single crop of {pixels.shape[1]} px with this model. "
                    "Close what else uses it, or use --device cpu."
                )
            self.most = len(part) // 2
            memory.release(self.device)
        return np.concatenate(found)


def infer_many(
    function: Callable[[np.ndarray], np.ndarray],
    groups: Sequence[Sequence[Item]],
    load: Callable[[Item], Sequence[np.ndarray | str]],
    *,
    batch_size: int,
    device: torch.device,
    threads: int = 0,
) -> Iterator[tuple[Sequence[Item], list[Sequence[np.ndarray | str]], np.ndarray | None]]:
    """Run a function of a batch over items that each give any number of crops, loaded ahead by threads.

    Args:
        function: From uint8 [n, size, size, 3] to float32 [n, width], each row by itself.
        groups: Items whose crops are in memory at a time.
        load: The crops of an item; in place of one that cannot be read, why.
        batch_size: Crops at a time; halved, for good, where memory runs out.
        threads: That load; 0 takes one per CPU core.

    Yields:
        Each group, what was loaded of each of its items, and the values of its crops, [n, width], in order; None where
        none could be read.
    """
    batched = Halving(function, batch_size, device)
    for group, loaded in load_ahead(groups, load, threads or cores.usable_cores()):
        good = [pixels for crops in loaded for pixels in crops if isinstance(pixels, np.ndarray)]
        yield group, loaded, batched(np.stack(good)) if good else None


def infer(
    model: nn.Module,
    transform: Transform,
    paths: Sequence[Source],
    output: Literal["scores", "features"],
    *,
    batch_size: int,
    device: torch.device,
    multilabel: bool = False,
    threads: int = 0,
    done: Callable[[int], None] = lambda n: None,
) -> tuple[np.ndarray, list[str | None]]:
    """Run a model over crops.

    Args:
        model: On `device`; left in evaluation mode.
        output: `scores`: probabilities, one per label. `features`: what the classifier sees.
        batch_size: Crops at a time; halved, for good, where memory runs out.
        multilabel: Each label is scored by itself, rather than which one it is.
        threads: That load crops; 0 takes one per CPU core, and more where crops come from another machine.
        done: Told how many crops each batch held.

    Returns:
        float32 [n, width] in the order of `paths`, NaN where a crop could not be read; and why it could not, or
        None. Width is 0 if no crop could be read.
    """

    def load(path: Source) -> Sequence[np.ndarray | str]:
        try:
            return (load_for_evaluation(path, transform),)
        except ImageFailure as failure:
            return (str(failure),)

    def values_of(pixels: np.ndarray) -> np.ndarray:
        images = to_input(pixels, transform, device)
        if output == "features":
            return features(model, images).float().cpu().numpy()
        return objective.scores(model(images), multilabel=multilabel).cpu().numpy()

    model.eval()
    groups = [paths[start : start + batch_size] for start in range(0, len(paths), batch_size)]
    results: np.ndarray | None = None
    failures: list[str | None] = []
    with torch.no_grad(), devices.autocast(device):
        for group, loaded, values in infer_many(
            values_of, groups, load, batch_size=batch_size, device=device, threads=threads or places.threads_for(paths)
        ):
            if values is not None:
                if results is None:
                    results = np.full((len(paths), values.shape[1]), np.nan, dtype=np.float32)
                found = [len(failures) + k for k, (crop,) in enumerate(loaded) if isinstance(crop, np.ndarray)]
                results[found] = values
            failures += [crop if isinstance(crop, str) else None for (crop,) in loaded]
            done(len(group))
    return (np.empty((len(paths), 0), dtype=np.float32) if results is None else results), failures
