"""A checkpoint made fast: the same function, and where half precision could name another label, single precision."""

import numpy as np
import pytest
import timm
import torch
from torch import nn

from trapline.learn import deployed as module
from trapline.learn.checkpoint import Checkpoint
from trapline.learn.deployed import Deployed
from trapline.learn.folding import fold_norms
from trapline.learn.models import build
from trapline.learn.transforms import Transform

CPU = torch.device("cpu")


def moved(network):
    """With statistics and weights as after training, not those of a start."""
    torch.manual_seed(0)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for values, low, high in ((layer.running_mean, -0.5, 0.5), (layer.running_var, 0.5, 2.0),
                                      (layer.weight, 0.5, 1.5), (layer.bias, -0.3, 0.3)):  # fmt: skip
                assert values is not None
                values.data.uniform_(low, high)
    return network.eval()


@pytest.mark.parametrize("name", ["test_efficientnet", "test_resnet", "test_vit"])
def test_folding_changes_nothing_but_the_number_of_layers(name):
    network = moved(timm.create_model(name, num_classes=4))
    size = network.pretrained_cfg["input_size"][-1]
    images = torch.randn(2, 3, size, size)
    folded = fold_norms(network, torch.zeros(1, 3, size, size))
    with torch.no_grad():
        assert torch.allclose(network(images), folded(images), atol=1e-3)
    left = [layer for layer in folded.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert not left


class Shared(nn.Module):
    """A convolution whose output goes elsewhere too: nothing to fold."""

    def __init__(self):
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, images):
        found = self.convolution(images)
        return found + self.norm(found)


def test_what_cannot_be_folded_is_left():
    network = moved(Shared())
    assert fold_norms(network, torch.zeros(1, 3, 8, 8)) is network


@pytest.fixture
def known():
    network = moved(build("test_efficientnet", 5, pretrained=False))
    return Checkpoint("test_efficientnet", tuple("abcde"), Transform(32), network.state_dict())


def reference(known, pixels):
    """The checkpoint's own network, as it is."""
    images = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
    with torch.no_grad():
        return known.network()(images).softmax(1).numpy()


def test_scores_are_the_networks_own(known, monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 255, (7, 32, 32, 3), dtype=np.uint8)
    expected = reference(known, pixels)
    assert np.allclose(Deployed(known, CPU, precision="fp32")(pixels), expected, atol=1e-5)
    half = Deployed(known, CPU, precision="bf16")
    assert half.half == torch.bfloat16
    monkeypatch.setattr(module, "DOUBT", 0.0)
    assert 1e-5 < np.abs(half(pixels) - expected).max() < 0.05
    monkeypatch.setattr(module, "DOUBT", 1.0)
    assert np.allclose(half(pixels), expected, atol=1e-5)


def test_columns_beside_the_scores_come_from_the_features(known):
    pixels = np.random.default_rng(0).integers(0, 255, (3, 32, 32, 3), dtype=np.uint8)
    found = Deployed(known, CPU, lambda features: features.sum(1, keepdim=True), precision="fp32")
    assert found(pixels).shape == (3, 6)
    assert np.allclose(found(pixels)[:, 5], found.features(pixels).sum(1), atol=1e-4)
    assert found.features(pixels).shape == (3, found.width)
