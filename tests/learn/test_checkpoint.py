import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from trapline.core.errors import InputError, TraplineError
from trapline.learn import checkpoint, models
from trapline.learn.infer import infer
from trapline.learn.transforms import Transform

CPU = torch.device("cpu")


def made(labels=("ant", "bee", "cat"), **kwargs):
    torch.manual_seed(0)
    model = models.build("test_efficientnet", len(labels), pretrained=False)
    return checkpoint.Checkpoint(
        "test_efficientnet", labels, Transform(32), model.state_dict(), 3, 0.5, False, {"config": {"lr": 0.1}}, **kwargs
    )


@pytest.fixture
def crops(tmp_path):
    paths = []
    for k in range(7):
        noise = np.random.default_rng(k).integers(0, 255, (6, 6, 3), dtype=np.uint8)
        paths.append(tmp_path / f"{k}.png")
        Image.fromarray(noise).resize((50, 50)).save(paths[-1])
    return paths


def test_a_checkpoint_holds_all_it_takes(tmp_path, crops):
    before = made()
    path = tmp_path / "runs" / "best.pt"
    checkpoint.save(path, before)
    after = checkpoint.load(path)
    assert (after.model, after.labels, after.transform) == (before.model, before.labels, before.transform)
    assert (after.epoch, after.val_macro_recall, after.trained) == (3, 0.5, {"config": {"lr": 0.1}})
    one, other = (
        infer(c.network(), c.transform, crops, "scores", batch_size=4, device=CPU)[0] for c in (before, after)
    )
    np.testing.assert_array_equal(one, other)
    assert sorted(path.parent.iterdir()) == [path]  # nothing is left beside it


def test_equal_checkpoints_are_equal_files(tmp_path):
    checkpoint.save(tmp_path / "a.pt", made())
    checkpoint.save(tmp_path / "another name.pt", made())
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "another name.pt").read_bytes()


def test_a_failed_write_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "last.pt"
    checkpoint.save(path, made())
    before = path.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(TraplineError, match="the disk is full"):
        checkpoint.save(path, made(("x", "y")))
    assert path.read_bytes() == before
    assert sorted(tmp_path.iterdir()) == [path]


class Malicious:
    def __reduce__(self):
        return (exec, ("raise SystemExit('code in a checkpoint ran')",))


@pytest.mark.parametrize("kind", ["empty", "text", "pickle", "other torch file", "torch file with code", "missing"])
def test_anything_else_is_an_input_error(tmp_path, kind):
    path = tmp_path / "x.pt"
    if kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("hello, I am no checkpoint")
    elif kind == "pickle":
        path.write_bytes(pickle.dumps(Malicious()))
    elif kind == "other torch file":
        torch.save({"model": {}, "epoch": 3}, path)
    elif kind == "torch file with code":
        torch.save({"format": checkpoint.FORMAT, "x": Malicious()}, path)
    with pytest.raises(InputError, match=r"there is no checkpoint|not a trapline checkpoint"):
        checkpoint.load(path)


def test_a_newer_format_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "FORMAT_VERSION", 99)
    checkpoint.save(tmp_path / "x.pt", made())
    monkeypatch.undo()
    with pytest.raises(InputError, match="newer trapline"):
        checkpoint.load(tmp_path / "x.pt")


def test_scores_do_not_depend_on_the_batch(crops):
    model = made().network()
    whole, failures = infer(model, Transform(32), crops, "scores", batch_size=64, device=CPU)
    assert failures == [None] * 7
    assert whole.shape == (7, 3)
    assert whole.dtype == np.float32
    np.testing.assert_allclose(whole.sum(1), 1, atol=1e-6)
    for batch_size in (1, 2, 3):
        parts, _ = infer(model, Transform(32), crops, "scores", batch_size=batch_size, device=CPU)
        np.testing.assert_allclose(parts, whole, atol=1e-5)
    assert np.ptp(whole[:, 0]) > 1e-4  # the crops do differ


def test_a_broken_crop_is_a_failure_and_its_neighbours_are_not(crops, tmp_path):
    model = made().network()
    whole, _ = infer(model, Transform(32), crops, "features", batch_size=3, device=CPU)
    crops[1].write_bytes(b"broken")
    crops[5].unlink()
    found, failures = infer(model, Transform(32), crops, "features", batch_size=3, device=CPU)
    assert [bool(why) for why in failures] == [False, True, False, False, False, True, False]
    assert failures[5] == "file is missing"
    good = [0, 2, 3, 4, 6]
    np.testing.assert_allclose(found[good], whole[good], atol=1e-5)
    assert np.isnan(found[[1, 5]]).all()


def test_nothing_readable_and_nothing_at_all(tmp_path):
    model = made().network()
    found, failures = infer(model, Transform(32), [tmp_path / "no.jpg"], "scores", batch_size=3, device=CPU)
    assert found.shape == (1, 0)
    assert failures == ["file is missing"]
    found, failures = infer(model, Transform(32), [], "scores", batch_size=3, device=CPU)
    assert found.shape == (0, 0)
    assert failures == []
