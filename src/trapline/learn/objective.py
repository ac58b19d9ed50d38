"""What training lowers, and what scores are: one label per crop, or any number of them."""

import torch
from torch.nn import functional


def loss_sum(outputs: torch.Tensor, targets: torch.Tensor, smoothing: float) -> torch.Tensor:
    """The loss, summed over crops (so that parts of a batch add up to the whole).

    Args:
        outputs: Of the model, [n, labels].
        targets: int64 [n]: the one label of each crop, for cross entropy. Or float [n, labels], 1 for each label of
            a crop: binary cross entropy, mean over labels.
        smoothing: Share of the target spread evenly over all labels (over yes and no).
    """
    outputs = outputs.float()
    if targets.ndim == 1:
        return functional.cross_entropy(outputs, targets, label_smoothing=smoothing, reduction="sum")
    soft = targets * (1 - smoothing) + smoothing / 2
    losses = functional.binary_cross_entropy_with_logits(outputs, soft, reduction="none")
    return losses.mean(dim=1).sum()


def scores(outputs: torch.Tensor, *, multilabel: bool) -> torch.Tensor:
    """Outputs as probabilities [n, labels]: of which label it is, or of each label by itself."""
    outputs = outputs.float()
    return outputs.sigmoid() if multilabel else outputs.softmax(dim=1)
