"""Weights of other implementations give the same outputs in timm's models."""

import copy
import json

import numpy as np
import pytest
import timm
import torch
import torchvision
from efficientnet_pytorch import EfficientNet
from safetensors.torch import save_file

from trapline.core.errors import InputError
from trapline.learn import checkpoint, models, weights
from trapline.learn.transforms import Transform

LABELS = ("ant", "bee", "cat")


def images(size=64):
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))


def lively(model):
    """Random weights with statistics that are not trivial, so that every tensor counts."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if name.endswith("running_mean"):
                value.normal_(0, 0.1, generator=generator)
            elif name.endswith("running_var"):
                value.uniform_(0.5, 1.5, generator=generator)
    return model.eval()


def head(model):
    return dict(model.named_parameters())["classifier.weight"]


def installed(path, name, labels=LABELS, names=None):
    model = models.build(name, len(labels), pretrained=False)
    kept = weights.install(model, weights.read(path, names), name, labels)
    return model.eval(), kept


def assert_same_outputs(model, reference, size=64, atol=1e-4):
    with torch.no_grad():
        found, expected = model(images(size)), reference(images(size))
        assert expected.abs().max() > 1e-3
        torch.testing.assert_close(found, expected, atol=atol, rtol=1e-4)


@pytest.mark.parametrize("variant", [0, 1, *(pytest.param(k, marks=pytest.mark.slow) for k in range(2, 8))])
def test_the_old_chains_efficientnet(tmp_path, variant):
    """ckpt_N.pt as train_classifier.py wrote it, the figure as numpy's number."""
    torch.manual_seed(variant)
    reference = lively(EfficientNet.from_name(f"efficientnet-b{variant}", num_classes=3, image_size=64))
    content = {"epoch": 7, "model": reference.state_dict(), "val/acc": np.float64(0.8), "optimizer": {"state": {}}}
    torch.save(content, tmp_path / "ckpt_7.pt")
    model, kept = installed(tmp_path / "ckpt_7.pt", f"tf_efficientnet_b{variant}", names=LABELS)
    assert kept == list(LABELS)
    assert_same_outputs(model, reference)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_torchvisions_resnet(tmp_path, name):
    torch.manual_seed(0)
    reference = lively(torchvision.models.get_model(name, weights=None, num_classes=3))
    wrapped = {f"module.{key}": value for key, value in reference.state_dict().items()}  # DataParallel's
    torch.save({"epoch": 1, "model": wrapped, "val/acc": 0.5}, tmp_path / "ckpt_1.pt")
    model, kept = installed(tmp_path / "ckpt_1.pt", name, names=LABELS)
    assert kept == list(LABELS)
    assert_same_outputs(model, reference)


@pytest.mark.parametrize("name", ["efficientnet_b0", "efficientnet_b1"])
def test_torchvisions_efficientnet(tmp_path, name):
    torch.manual_seed(0)
    reference = lively(torchvision.models.get_model(name, weights=None, num_classes=3))
    torch.save(reference.state_dict(), tmp_path / "tv.pth")
    model, _ = installed(tmp_path / "tv.pth", name, names=LABELS)
    assert_same_outputs(model, reference)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_timms_own(tmp_path, suffix):
    torch.manual_seed(0)
    reference = lively(timm.create_model("test_efficientnet", num_classes=3))
    path = tmp_path / f"timm{suffix}"
    if suffix == ".pth":
        torch.save({"state_dict": reference.state_dict(), "epoch": 3}, path)
    else:
        save_file(reference.state_dict(), path)
    model, kept = installed(path, "test_efficientnet", names=LABELS)
    assert kept == list(LABELS)
    assert_same_outputs(model, reference)


def test_the_head_follows_the_names_of_labels(tmp_path):
    """Shared labels keep their rows wherever they stand now; new ones do not."""
    torch.manual_seed(0)
    reference = lively(models.build("test_efficientnet", 3, pretrained=False))
    state = reference.state_dict()
    checkpoint.save(tmp_path / "best.pt", checkpoint.Checkpoint("test_efficientnet", LABELS, Transform(64), state))
    torch.manual_seed(5)
    fresh = models.build("test_efficientnet", 4, pretrained=False)
    model = copy.deepcopy(fresh)
    now = ["bee", "cat", "cow", "ewe"]
    loaded = weights.read(tmp_path / "best.pt")
    assert loaded.transform == Transform(64)
    assert weights.install(model, loaded, "test_efficientnet", now) == ["bee", "cat"]
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(images())[:, :2], reference(images())[:, 1:])
    assert torch.equal(head(model)[2:], head(fresh)[2:])


def test_without_names_the_head_is_new(tmp_path):
    torch.save(models.build("test_efficientnet", 3, pretrained=False).state_dict(), tmp_path / "x.pth")
    torch.manual_seed(5)
    model = models.build("test_efficientnet", 3, pretrained=False)
    before = head(model).clone()
    assert weights.install(model, weights.read(tmp_path / "x.pth"), "test_efficientnet", LABELS) == []
    assert torch.equal(head(model), before)
    with pytest.raises(InputError, match=r"has 3 outputs, but its labels are 2: name the right label_index\.json"):
        weights.install(model, weights.read(tmp_path / "x.pth", ["a", "b"]), "test_efficientnet", LABELS)


@pytest.mark.parametrize(
    ("made", "asked", "fits"),
    [
        (lambda: EfficientNet.from_name("efficientnet-b1", num_classes=3), "efficientnet_b1", "tf_efficientnet_b1"),
        (lambda: EfficientNet.from_name("efficientnet-b0", num_classes=3), "tf_efficientnet_b3", "tf_efficientnet_b0"),
        (lambda: torchvision.models.efficientnet_b0(num_classes=3), "tf_efficientnet_b0", "efficientnet_b0"),
        (lambda: torchvision.models.resnet34(num_classes=3), "resnet18", "resnet34"),
    ],
)
def test_the_wrong_model_is_told_the_right_one(tmp_path, made, asked, fits):
    torch.save({"model": made().state_dict()}, tmp_path / "x.pt")
    with pytest.raises(InputError, match=rf"does not hold weights of {asked} \(.*\)\. Use --model {fits}\."):
        installed(tmp_path / "x.pt", asked)


def test_what_is_no_file_of_weights(tmp_path):
    with pytest.raises(InputError, match=r"there is no file of weights .*none\.pt"):
        weights.read(tmp_path / "none.pt")
    (tmp_path / "text.pt").write_text(json.dumps({"a": 1}))
    with pytest.raises(InputError, match="cannot be read as weights"):
        weights.read(tmp_path / "text.pt")
    (tmp_path / "text.safetensors").write_text("x")
    with pytest.raises(InputError, match="no safetensors file"):
        weights.read(tmp_path / "text.safetensors")
    torch.save({"epoch": 3, "names": ["a"]}, tmp_path / "empty.pt")
    with pytest.raises(InputError, match="no state dict of tensors"):
        weights.read(tmp_path / "empty.pt")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "model.pt")
    with pytest.raises(InputError, match=r"could run code: save its state_dict\(\)"):
        weights.read(tmp_path / "model.pt")
