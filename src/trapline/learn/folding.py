"""Normalisation layers folded into the convolutions before them: the same function with fewer passes over memory."""

import copy

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights

TOLERANCE = 1e-3  # of the largest output, in single precision


def fold_norms(network: nn.Module, example: torch.Tensor) -> nn.Module:
    """The network in evaluation mode, with every batch normalisation that follows a convolution folded into it.

    Which follows which is seen by running it once. Where the outcome differs (a convolution that feeds others too),
    the network is returned as it was.

    Args:
        example: An input, float [n, 3, size, size].
    """
    network = network.eval()
    folded = copy.deepcopy(network)
    made: dict[int, tuple[nn.Conv2d, torch.Tensor]] = {}  # the tensors are kept: an id is not given out twice
    pairs: list[tuple[nn.Conv2d, _BatchNorm]] = []

    def note(module: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        if isinstance(module, nn.Conv2d):
            made[id(output)] = (module, output)
        elif inputs and id(inputs[0]) in made:
            pairs.append((made[id(inputs[0])][0], module))  # type: ignore[arg-type]

    kinds = (nn.Conv2d, _BatchNorm)
    handles = [module.register_forward_hook(note) for module in folded.modules() if isinstance(module, kinds)]
    with torch.no_grad():
        folded(example)
        for handle in handles:
            handle.remove()
        made.clear()
        for convolution, norm in pairs:
            _fold(convolution, norm)
        norms = {id(norm) for _, norm in pairs}
        for parent in list(folded.modules()):
            for name, child in list(parent.named_children()):
                if id(child) in norms:
                    setattr(parent, name, getattr(child, "act", None) or nn.Identity())  # timm's norms may hold one
        random = torch.rand(example.shape, generator=torch.Generator().manual_seed(0)) - 0.5
        before, after = network(random), folded(random)
    same = (before - after).abs().max() <= TOLERANCE * before.abs().max().clamp_min(1)
    return folded if bool(same) else network


def _fold(convolution: nn.Conv2d, norm: _BatchNorm) -> None:
    if norm.running_mean is None or norm.running_var is None:
        raise ValueError("a normalisation without statistics cannot be folded")
    weight, bias = fuse_conv_bn_weights(
        convolution.weight, convolution.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
    convolution.weight, convolution.bias = weight, bias
