"""What a training starts from, and crops with several labels."""

import json

import numpy as np
import polars as pl
import pytest
import torch

from training import SMALL, draw, metrics, run, weights_of
from trapline.core.config import PredictConfig
from trapline.core.errors import InputError, TraplineError
from trapline.core.log import Log
from trapline.io.ledger import Parts
from trapline.learn import checkpoint, weights
from trapline.stages.predict import predict

pytestmark = pytest.mark.usefixtures("one_core")


@pytest.fixture(scope="module")
def former(tmp_path_factory, one_core):
    """A finished training on ant, bee and cat."""
    folder = tmp_path_factory.mktemp("former")
    examples, splits = draw(folder / "crops")
    return run(folder, examples, splits).checkpoint


def test_labels_of_the_same_name_keep_their_outputs(former, tmp_path):
    examples, splits = draw(tmp_path / "crops", labels=("bee", "cat"))
    log = Log()
    result = run(tmp_path, examples, splits, epochs=1, weights=str(former), log=log)
    assert any("2 of 2 labels keep their outputs from" in note for note in log.notes)
    assert metrics(tmp_path / "run")[0]["val_macro_recall"] > 0.9  # before anything was learnt here
    assert checkpoint.load(result.checkpoint).labels == ("bee", "cat")
    # Statistics stand still, as with all pretrained weights.
    old, new = weights.read(former).tensors, weights_of(tmp_path / "run")
    assert torch.equal(old["bn1.running_mean"], new["bn1.running_mean"])
    assert not torch.equal(old["conv_stem.weight"], new["conv_stem.weight"])


def test_the_file_is_not_needed_to_go_on(former, tmp_path):
    examples, splits = draw(tmp_path / "crops", labels=("bee", "cat"))
    copied = tmp_path / "mine.pt"
    copied.write_bytes(former.read_bytes())
    run(tmp_path, examples, splits, epochs=1, weights=str(copied))
    copied.unlink()
    assert run(tmp_path, examples, splits, epochs=1, weights=str(copied)).epochs == 1
    with pytest.raises(InputError, match="there is no file of weights"):
        run(tmp_path, examples, splits, epochs=1, weights=str(copied), name="another")


def test_label_index_beside_the_weights_names_their_outputs(former, tmp_path):
    examples, splits = draw(tmp_path / "crops", labels=("cat", "dog"))
    torch.save(weights.read(former).tensors, tmp_path / "plain.pt")
    (tmp_path / "label_index.json").write_text(json.dumps({"0": "ant", "1": "bee", "2": "cat"}))
    log = Log()
    run(tmp_path, examples, splits, epochs=1, weights=str(tmp_path / "plain.pt"), log=log)
    assert any("1 of 2 labels keep their outputs" in note for note in log.notes)
    (tmp_path / "label_index.json").write_text('{"1": "ant"}')
    with pytest.raises(InputError, match="is not a label list"):
        run(tmp_path, examples, splits, epochs=1, weights=str(tmp_path / "plain.pt"), name="bad")


def test_probe_mode_stops_at_the_probe_and_finetune_can_start_from_it(tmp_path):
    data = draw(tmp_path / "crops")
    result = run(tmp_path, *data, mode="probe")
    assert (result.epochs, [row["epoch"] for row in metrics(tmp_path / "run")]) == (0, [0])
    run(tmp_path, *data, epochs=1, weights=str(result.checkpoint), name="tuned")
    assert metrics(tmp_path / "tuned")[0]["val_loss"] == pytest.approx(metrics(tmp_path / "run")[0]["val_loss"])
    assert metrics(tmp_path / "tuned")[-1]["epoch"] == 1


def test_head_epochs_train_the_head_alone(tmp_path):
    data = draw(tmp_path / "crops")
    run(tmp_path, *data, epochs=1, head_epochs=1, name="head")
    run(tmp_path, *data, epochs=2, head_epochs=1, name="then all")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trapline.learn.loop.Training.train_epoch", lambda self, advance: None)
        with pytest.raises(ZeroDivisionError):  # an epoch without steps has no loss
            run(tmp_path, *data, epochs=1, name="untrained")
    first, head, both = (weights_of(tmp_path / name) for name in ("untrained", "head", "then all"))
    changed = {name for name in first if not torch.equal(first[name], head[name])}
    assert changed == {"classifier.weight", "classifier.bias"}
    assert not torch.equal(head["conv_stem.weight"], both["conv_stem.weight"])


def test_labels_that_changed_since_the_checkpoint_are_named(tmp_path):
    """Asked through the stage by its fingerprint, and by last.pt itself should params.json be gone."""
    examples, splits = draw(tmp_path / "crops")
    run(tmp_path, examples, splits, epochs=1)
    (tmp_path / "run/params.json").unlink()
    (tmp_path / "run/done.json").unlink()
    renamed = examples.with_columns(labels=pl.col("labels").list.eval(pl.element().replace({"cat": "cow"})))
    with pytest.raises(
        TraplineError, match=r"labels changed since: 1 gone \(cat\), 1 new \(cow\).*--weights .*last\.pt"
    ):
        run(tmp_path, renamed, splits, epochs=1)
    assert checkpoint.load(tmp_path / "run/checkpoints/last.pt").labels == ("ant", "bee", "cat")


def with_second_labels(examples):
    """Every bee is also small, and so is one ant of each group."""
    small = examples["labels"].list.contains("bee") | examples["crop_id"].str.contains("ant_0")
    return examples.with_columns(
        labels=pl.when(small).then(pl.col("labels").list.concat(pl.lit(["small"]))).otherwise("labels")
    )


def test_several_labels_per_crop_are_learnt_and_predicted(tmp_path):
    examples, splits = draw(tmp_path / "crops", each=6)
    examples = with_second_labels(examples)
    result = run(tmp_path, examples, splits, multilabel=True, epochs=6)
    assert result.best_val_macro_recall is None
    assert result.best_val_mean_ap is not None
    assert result.best_val_mean_ap > 0.85
    rows = metrics(tmp_path / "run")
    assert max(row["val_mean_ap"] for row in rows) == result.best_val_mean_ap
    params = json.loads((tmp_path / "run/params.json").read_text())
    assert params["train"] == {"ant": 12, "bee": 12, "cat": 12, "small": 14}
    ids = examples.filter(pl.col("group_id") == "g4").select("crop_id")
    found = predict(
        result.checkpoint,
        ids,
        PredictConfig(device="cpu"),
        crops_dir=tmp_path / "crops",
        parts=Parts(tmp_path / "parts"),
        log=Log(),
    )
    scores = found["scores"].to_numpy()
    assert np.ptp(scores.sum(axis=1)) > 0.1  # each label by itself, not shares of one
    bees = ids["crop_id"].str.contains("bee").to_numpy()
    assert ((scores[bees, 1] > 0.5) & (scores[bees, 3] > 0.5)).mean() > 0.6
    assert (scores[~bees, 1] > 0.5).mean() < 0.2


def test_crops_without_any_label_teach_what_is_not_there(tmp_path):
    examples, splits = draw(tmp_path / "crops", labels=("ant", "bee"))
    bare = examples.with_columns(
        labels=pl.when(pl.col("labels").list.contains("bee")).then(pl.lit([], pl.List(pl.String))).otherwise("labels")
    )
    result = run(tmp_path, bare, splits, SMALL, multilabel=True, epochs=2)
    assert checkpoint.load(result.checkpoint).labels == ("ant",)
    assert result.best_val_mean_ap == pytest.approx(1.0, abs=0.2)
