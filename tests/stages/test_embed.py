import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

from trapline.core.config import EmbedConfig
from trapline.core.errors import InputError
from trapline.core.log import Log
from trapline.core.schemas import CROPS
from trapline.io.ledger import Parts
from trapline.learn import models
from trapline.stages import embed as stage
from trapline.stages.embed import embed


@pytest.fixture
def crops(tmp_path):
    folder = tmp_path / "crops"
    folder.mkdir()
    rows = []
    for k in range(4):
        noise = np.random.default_rng(k).integers(0, 255, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((50, 50)).save(folder / f"c{k}.jpg")
        rows.append({"crop_id": f"c{k}.jpg", "box_id": "b", "image_id": "i", "path": f"c{k}.jpg"})
    rows.append({"crop_id": "c9.jpg", "box_id": "b", "image_id": "i", "failure": "not an image"})
    return pl.DataFrame(rows, schema=CROPS.columns, orient="row")


def features(tmp_path, crops, log=None, **options):
    cfg = EmbedConfig(device="cpu", **options)
    return embed(crops, cfg, crops_dir=tmp_path / "crops", parts=Parts(tmp_path / "parts"), log=log or Log())


def test_features_are_the_default_models(tmp_path, crops):
    log = Log()
    table = features(tmp_path, crops, log, batch_size=3)
    assert table.columns == ["crop_id", "model", "embedding"]
    assert table["crop_id"].to_list() == ["c0.jpg", "c1.jpg", "c2.jpg", "c3.jpg"]
    assert table.schema["embedding"] == pl.Array(pl.Float32, 1280)
    assert str(log.accounts[0]) == "5 crops -> 4 embeddings; left out 1 failed as crops"
    with Image.open(tmp_path / "crops/c2.jpg") as image:
        pixels = np.asarray(image.resize((224, 224), Image.Resampling.BICUBIC))
    model = models.build("tf_efficientnet_lite0", 2, pretrained=True).eval()
    with torch.no_grad():
        expected = models.features(model, torch.tensor(pixels).permute(2, 0, 1)[None] / 127.5 - 1)
    np.testing.assert_allclose(table["embedding"].to_numpy()[2], expected[0], atol=1e-4)


def test_nothing_is_embedded_twice_and_no_model_is_built(tmp_path, crops, monkeypatch):
    first = features(tmp_path, crops)
    monkeypatch.setattr(stage.models, "build", None)
    assert features(tmp_path, crops, batch_size=2).equals(first)


def test_an_unreadable_crop_has_no_embedding(tmp_path, crops):
    (tmp_path / "crops/c1.jpg").write_bytes(b"broken")
    log = Log()
    table = features(tmp_path, crops, log)
    assert table["embedding"].is_null().to_list() == [False, True, False, False]
    assert str(log.accounts[0]).endswith("left out 1 failed as crops, 1 could not be read")


def test_no_crops(tmp_path, crops):
    assert features(tmp_path, crops.clear()).height == 0


def test_unknown_model(tmp_path, crops):
    with pytest.raises(InputError, match="timm has no model named"):
        features(tmp_path, crops, model="resnet5O")
