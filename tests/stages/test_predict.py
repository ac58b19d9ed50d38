import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

from trapline.core.config import PredictConfig
from trapline.core.errors import InputError
from trapline.core.log import Log
from trapline.io.ledger import Parts
from trapline.learn import checkpoint, models
from trapline.learn.transforms import Transform
from trapline.stages import predict as stage
from trapline.stages.predict import predict

LABELS = ("ant", "bee", "cat")


@pytest.fixture
def crops(tmp_path):
    folder = tmp_path / "crops"
    folder.mkdir()
    for k in range(9):
        noise = np.random.default_rng(k).integers(0, 255, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((50, 50)).save(folder / f"c{k}.jpg")
    return pl.DataFrame({"crop_id": [f"c{k}.jpg" for k in (3, 0, 8, 1, 2, 4, 5, 6, 7)]})


@pytest.fixture
def saved(tmp_path):
    def save(seed=0):
        torch.manual_seed(seed)
        model = models.build("test_efficientnet", 3, pretrained=False)
        path = tmp_path / "best.pt"
        checkpoint.save(path, checkpoint.Checkpoint("test_efficientnet", LABELS, Transform(32), model.state_dict()))
        return path

    return save


def score(tmp_path, path, crops, log=None, folder="parts", **options):
    parts = Parts(tmp_path / folder)
    cfg = PredictConfig(device="cpu", **options)
    return predict(path, crops, cfg, crops_dir=tmp_path / "crops", parts=parts, log=log or Log())


def values(table):
    return table["scores"].to_numpy()


def test_scores_are_probabilities_in_the_order_asked_for(tmp_path, saved, crops):
    log = Log()
    table = score(tmp_path, saved(), crops, log)
    assert table["crop_id"].to_list() == crops["crop_id"].to_list()
    assert table.schema["scores"] == pl.Array(pl.Float32, 3)
    assert table["failure"].null_count() == 9
    np.testing.assert_allclose(values(table).sum(1), 1, atol=1e-6)
    assert str(log.accounts[0]) == "9 crops -> 9 predictions"


def test_batches_and_parts_change_nothing(tmp_path, saved, crops, monkeypatch):
    whole = score(tmp_path, saved(), crops)
    monkeypatch.setattr(stage, "PART_ROWS", 4)
    pieces = score(tmp_path, saved(), crops, folder="other", batch_size=3)
    np.testing.assert_allclose(values(pieces), values(whole), atol=1e-5)


def test_nothing_is_scored_twice(tmp_path, saved, crops, monkeypatch):
    first = score(tmp_path, saved(), crops)
    asked = []
    real = stage.infer
    monkeypatch.setattr(
        stage, "infer", lambda model, t, paths, *a, **k: asked.extend(paths) or real(model, t, paths, *a, **k)
    )
    assert score(tmp_path, saved(), crops).equals(first)
    assert not asked
    Image.new("RGB", (50, 50)).save(tmp_path / "crops/c2.jpg")  # made again
    again = score(tmp_path, saved(), crops)
    assert [path.name for path in asked] == ["c2.jpg"]
    assert not np.array_equal(values(again)[4], values(first)[4])
    asked.clear()
    other = score(tmp_path, saved(seed=1), crops)
    assert len(asked) == 9
    assert not np.allclose(values(other), values(again))


def test_a_broken_crop_is_a_row_with_a_failure(tmp_path, saved, crops):
    (tmp_path / "crops/c0.jpg").write_bytes(b"broken")
    (tmp_path / "crops/c8.jpg").unlink()
    log = Log()
    table = score(tmp_path, saved(), crops, log)
    assert table["failure"].to_list()[:4] == [None, "not an image", "file is missing", None]
    assert table["scores"].is_null().to_list()[:4] == [False, True, True, False]
    assert str(log.accounts[0]) == "9 crops -> 7 predictions; left out 2 could not be read"


def test_all_broken_and_none_at_all(tmp_path, saved, crops):
    for path in (tmp_path / "crops").iterdir():
        path.unlink()
    table = score(tmp_path, saved(), crops)
    assert table["scores"].null_count() == 9
    assert table.schema["scores"] == pl.Array(pl.Float32, 3)
    empty = score(tmp_path, saved(), crops.clear(), folder="none")
    assert empty.height == 0
    assert empty.schema["scores"] == pl.Array(pl.Float32, 3)


def test_not_a_checkpoint(tmp_path, crops):
    (tmp_path / "x.pt").write_text("no")
    with pytest.raises(InputError, match="not a trapline checkpoint"):
        score(tmp_path, tmp_path / "x.pt", crops)
