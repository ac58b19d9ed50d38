"""How far features are from those of the training crops."""

import numpy as np
import torch
from torch.nn import functional

from trapline.core.likeness import NEIGHBOUR
from trapline.core.neighbours import unit


class Neighbours:
    """Distances to training crops (core/likeness.py).

    Args:
        features: Of training crops, [n, width].
    """

    def __init__(self, features: np.ndarray, device: torch.device):
        self._known = torch.from_numpy(unit(features)).to(device).T.contiguous()
        self._nth = min(NEIGHBOUR, len(features))

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        """The distance of each, [n, 1]."""
        cosines = functional.normalize(features.float(), dim=1) @ self._known
        return 1 - cosines.topk(self._nth, dim=1).values[:, -1:]
