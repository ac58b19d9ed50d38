"""The one inference loop: crops in, scores or features out. Used by embed, predict, the probe and validation."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import nn

from trapline.io.images import ImageFailure
from trapline.learn import device as devices
from trapline.learn.loader import load_ahead
from trapline.learn.models import features
from trapline.learn.transforms import Transform, load_for_evaluation, to_input


def infer(
    model: nn.Module,
    transform: Transform,
    paths: Sequence[Path],
    output: Literal["scores", "features"],
    *,
    batch_size: int,
    device: torch.device,
    threads: int = 0,
    done: Callable[[int], None] = lambda n: None,
) -> tuple[np.ndarray, list[str | None]]:
    """Run a model over crops.

    Args:
        model: On `device`; left in evaluation mode.
        output: `scores`: softmax probabilities, one per label. `features`: what the classifier sees.
        threads: That load crops; 0 takes one per CPU core.
        done: Told how many crops each batch held.

    Returns:
        float32 [n, width] in the order of `paths`, NaN where a crop could not be read; and why it could not, or
        None. Width is 0 if no crop could be read.
    """

    def load(path: Path) -> np.ndarray | str:
        try:
            return load_for_evaluation(path, transform)
        except ImageFailure as failure:
            return str(failure)

    model.eval()
    groups = [paths[start : start + batch_size] for start in range(0, len(paths), batch_size)]
    results: np.ndarray | None = None
    failures: list[str | None] = []
    with torch.no_grad(), devices.autocast(device):
        for group, loaded in load_ahead(groups, load, threads or devices.cores()):
            good = [pixels for pixels in loaded if isinstance(pixels, np.ndarray)]
            if good:
                images = to_input(np.stack(good), transform, device)
                if output == "features":
                    values = features(model, images).float()
                else:
                    values = model(images).float().softmax(dim=1)
                if results is None:
                    results = np.full((len(paths), values.shape[1]), np.nan, dtype=np.float32)
                places = [len(failures) + k for k, pixels in enumerate(loaded) if isinstance(pixels, np.ndarray)]
                results[places] = values.cpu().numpy()
            failures += [pixels if isinstance(pixels, str) else None for pixels in loaded]
            done(len(group))
    return (np.empty((len(paths), 0), dtype=np.float32) if results is None else results), failures
