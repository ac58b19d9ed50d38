import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

from training import SMALL, assert_same_run, draw, metrics, run
from trapline.core import recipes
from trapline.core.errors import InputError, TraplineError
from trapline.core.log import Log
from trapline.learn import checkpoint, transforms
from trapline.learn.loop import Training
from trapline.stages.train import train


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


class KillingLog(Log):
    """Ends training after `steps` optimiser steps of this call."""

    def __init__(self, steps):
        super().__init__()
        self.steps = steps

    @contextmanager
    def progress(self, what, total, unit=""):
        def advance(n=1, info=""):
            if what == "training":
                self.steps -= 1
                if self.steps < 0:
                    raise Killed

        yield advance


pytestmark = pytest.mark.usefixtures("one_core")


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory, one_core):
    """A training of 3 epochs of 3 steps, never disturbed, and its data."""
    folder = tmp_path_factory.mktemp("unbroken")
    examples, splits = draw(folder / "crops")
    return folder, examples, splits, run(folder, examples, splits)


def test_a_run_folder_tells_the_whole_story(unbroken):
    folder, _, _, result = unbroken
    params = json.loads((folder / "run/params.json").read_text())
    assert params["labels"] == ["ant", "bee", "cat"]
    assert params["train"] == {"ant": 6, "bee": 6, "cat": 6}
    assert params["val"] == {"ant": 3, "bee": 3, "cat": 3}
    assert params["config"]["seed"] == 0
    assert params["config"]["image_size"] == 32
    assert params["config"]["device"] == "cpu"
    assert torch.__version__.startswith(params["versions"]["torch"])
    rows = [json.loads(line) for line in (folder / "run/metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [0, 1, 2, 3]
    assert rows[0]["train_loss"] is None
    assert all(row["images_per_s"] > 0 for row in rows[1:])
    assert all(0 <= row["val_macro_recall"] <= 1 and row["val_loss"] > 0 for row in rows)
    done = json.loads((folder / "run/done.json").read_text())
    assert done == {
        "checkpoint": "checkpoints/best.pt",
        "best_epoch": result.best_epoch,
        "best_val_macro_recall": result.best_val_macro_recall,
        "epochs": 3,
    }
    best = max(rows, key=lambda row: (row["val_macro_recall"], -row["val_loss"]))
    assert (best["epoch"], best["val_macro_recall"]) == (result.best_epoch, result.best_val_macro_recall)
    saved = checkpoint.load(result.checkpoint)
    assert saved.labels == ("ant", "bee", "cat")
    assert saved.epoch == result.best_epoch
    assert saved.trained["fingerprint"] == params["fingerprint"]
    assert list((folder / "run/tensorboard").iterdir())
    assert result.best_val_macro_recall > 0.9  # colours are easy


def test_training_again_gives_the_same(unbroken, tmp_path):
    folder, examples, splits, _ = unbroken
    run(folder, examples, splits, name="again")
    assert_same_run(folder / "run", folder / "again")


def test_another_seed_gives_another(unbroken):
    folder, examples, splits, _ = unbroken
    run(folder, examples, splits, SMALL.model_copy(update={"seed": 1}), name="seed1")
    assert metrics(folder / "run")[1:] != metrics(folder / "seed1")[1:]


@pytest.mark.parametrize("kills", [[0], [1], [2, 2], [3], [4, 1, 0], [8]])
@pytest.mark.parametrize("minutes", [1e-9, 60.0])
def test_killed_anywhere_it_ends_the_same(unbroken, tmp_path, kills, minutes):
    """After each number of steps, with a checkpoint at every step or only at the ends of epochs."""
    folder, examples, splits, _ = unbroken
    cfg = SMALL.model_copy(update={"checkpoint_minutes": minutes})
    crops = {"crops_dir": folder / "crops", "run_dir": tmp_path / "run"}
    for steps in kills:
        with pytest.raises(Killed):
            train(examples, splits, cfg, **crops, log=KillingLog(steps))
        assert not (tmp_path / "run/done.json").exists()
    log = Log()
    train(examples, splits, cfg, **crops, log=log)
    assert any("goes on from its checkpoint" in note for note in log.notes)
    assert_same_run(folder / "run", tmp_path / "run")


@pytest.mark.parametrize("moment", ["metrics", "best"])
def test_killed_between_the_files_of_an_epoch(unbroken, tmp_path, monkeypatch, moment):
    """The line in metrics.jsonl, or best.pt, is there, and last.pt does not know it yet."""
    folder, examples, splits, _ = unbroken
    crops = {"crops_dir": folder / "crops", "run_dir": tmp_path / "run"}
    save = checkpoint.save

    def dying(path, *rest):
        if training.now.epoch == 2:
            if moment == "best" and path.name == "best.pt":
                save(path, *rest)
            raise Killed
        save(path, *rest)

    def remember(self, *args, **kwargs):
        nonlocal training
        training = self
        original(self, *args, **kwargs)

    training: Training
    original = Training.__init__
    monkeypatch.setattr(Training, "__init__", remember)
    monkeypatch.setattr(checkpoint, "save", dying)
    with pytest.raises(Killed):
        train(examples, splits, SMALL, **crops, log=Log())
    assert len(metrics(tmp_path / "run")) == 3  # epoch 2 is told already
    monkeypatch.undo()
    train(examples, splits, SMALL, **crops, log=Log())
    assert_same_run(folder / "run", tmp_path / "run")


def test_a_real_sigkill(unbroken, tmp_path):
    folder, examples, splits, _ = unbroken
    examples.write_parquet(tmp_path / "examples.parquet")
    splits.write_parquet(tmp_path / "splits.parquet")
    cfg = SMALL.model_copy(update={"checkpoint_minutes": 1e-9})
    script = textwrap.dedent(f"""
        import os
        import polars as pl
        from pathlib import Path
        os.sched_setaffinity(0, {{min(os.sched_getaffinity(0))}})
        from trapline.core.config import TrainConfig
        from trapline.core.log import Log
        from trapline.stages.train import train
        cfg = TrainConfig.model_validate_json('''{cfg.model_dump_json()}''')
        train(pl.read_parquet("examples.parquet"), pl.read_parquet("splits.parquet"), cfg,
              crops_dir=Path({str(folder / "crops")!r}), run_dir=Path("run"), log=Log())
    """)
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, cwd=tmp_path) as process:
        story = tmp_path / "run/metrics.jsonl"
        while not (story.exists() and story.read_text().count("\n") >= 2):
            assert process.poll() is None, "ended before it could be killed"
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "run/done.json").exists()
    subprocess.run(command, cwd=tmp_path, check=True)
    assert_same_run(folder / "run", tmp_path / "run")


def test_dropout_is_drawn_from_the_place_in_training(unbroken, tmp_path, monkeypatch):
    """With dropout in the model, a kill changes nothing either."""
    folder, examples, splits, _ = unbroken
    import timm

    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda *a, **k: create(*a, **k, drop_rate=0.5))
    crops = {"crops_dir": folder / "crops"}
    cfg = SMALL.model_copy(update={"checkpoint_minutes": 1e-9})
    train(examples, splits, cfg, **crops, run_dir=tmp_path / "whole", log=Log())
    with pytest.raises(Killed):
        train(examples, splits, cfg, **crops, run_dir=tmp_path / "run", log=KillingLog(4))
    train(examples, splits, cfg, **crops, run_dir=tmp_path / "run", log=Log())
    assert_same_run(tmp_path / "whole", tmp_path / "run")
    assert metrics(tmp_path / "run")[1:] != metrics(folder / "run")[1:]


def test_epochs_left_open_are_settled_once(tmp_path, monkeypatch):
    examples, splits = draw(tmp_path / "crops")
    open_ended = SMALL.model_copy(update={"epochs": None, "patience": None})
    recipe = recipes.DEFAULT
    monkeypatch.setattr(recipes, "RECIPES", {"default": replace(recipe, epochs=9)})
    first = KillingLog(4)
    with pytest.raises(Killed):
        run(tmp_path, examples, splits, open_ended, log=first)
    said = "recipe: default, 9 epochs for 18 crops of 2 places, 50% shown on other places' backgrounds, patience 4"
    assert said in first.notes
    config = json.loads((tmp_path / "run/params.json").read_text())["config"]
    assert (config["epochs"], config["patience"]) == (9, 4)
    monkeypatch.setattr(recipes, "RECIPES", {"default": replace(recipe, epochs=12)})  # a newer trapline knows better
    assert run(tmp_path, examples, splits, open_ended, log=(then := Log())).epochs <= 9
    assert not any(note.startswith("recipe") for note in then.notes)
    assert json.loads((tmp_path / "run/params.json").read_text())["config"] == config


def test_a_finished_run_returns_at_once(unbroken, monkeypatch):
    folder, examples, splits, result = unbroken
    monkeypatch.setattr("trapline.stages.train.fit", None)
    assert run(folder, examples, splits) == result


def test_a_run_from_before_there_was_an_option_is_still_the_same(tmp_path):
    examples, splits = draw(tmp_path / "crops")
    one = SMALL.model_copy(update={"epochs": 1})
    result = run(tmp_path, examples, splits, one, backgrounds=0.0)
    params = json.loads((tmp_path / "run/params.json").read_text())
    del params["config"]["backgrounds"]
    (tmp_path / "run/params.json").write_text(json.dumps(params))
    assert run(tmp_path, examples, splits, one) == result
    with pytest.raises(TraplineError, match=r"backgrounds is 0.0, asked for 0.7"):
        run(tmp_path, examples, splits, one, backgrounds=0.7)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_share_of_the_crops_is_shown_on_those_of_another_group(tmp_path, monkeypatch, share):
    examples, splits = draw(tmp_path / "crops")
    pairs = []
    pasted = transforms.on_background

    def on_background(square, other):
        pairs.append(tuple(np.asarray(image).tobytes() for image in (square, other)))
        return pasted(square, other)

    monkeypatch.setattr(transforms, "on_background", on_background)
    run(tmp_path, examples, splits, backgrounds=share)
    groups = {np.asarray(Image.open(path)).tobytes(): path.name[:2] for path in (tmp_path / "crops").iterdir()}
    assert {(groups[one], groups[other]) for one, other in pairs} <= {("g1", "g2"), ("g2", "g1")}
    seen = 3 * 18
    assert {0.0: len(pairs) == 0, 0.5: 0.3 * seen < len(pairs) < 0.7 * seen, 1.0: len(pairs) == seen}[share]


def test_crops_of_one_group_have_no_other_background(tmp_path):
    examples, splits = draw(tmp_path / "crops", groups=("g1", "g3", "g4"))
    log = Log()
    assert run(tmp_path, examples, splits, log=log).epochs == 3
    assert any("9 crops of 1 place, patience" in note for note in log.notes)
    assert run(tmp_path, examples, splits, name="asked", backgrounds=1.0).epochs == 3


def test_another_question_to_the_same_folder_is_refused(unbroken):
    folder, examples, splits, _ = unbroken
    with pytest.raises(TraplineError, match=r"lr is 0.01, asked for 0.02"):
        run(folder, examples, splits, SMALL.model_copy(update={"lr": 0.02}))
    moved = splits.with_columns(split=pl.col("split").replace({"test": "train"}))
    with pytest.raises(TraplineError, match="the training data"):
        run(folder, examples, moved)
    hurry = SMALL.model_copy(update={"num_workers": 1, "checkpoint_minutes": 9.0})
    assert run(folder, examples, splits, hurry).epochs == 3  # how fast is not what


def test_heldback_and_test_crops_are_never_read(tmp_path):
    examples, splits = draw(tmp_path / "crops")
    held = examples["crop_id"].str.ends_with("_2.png") & examples["group_id"].is_in(["g1", "g2"])
    examples = examples.with_columns(heldback=held)
    for crop_id in examples.filter(held | (pl.col("group_id") == "g4"))["crop_id"]:
        (tmp_path / "crops" / crop_id).unlink()
    log = Log()
    run(tmp_path, examples, splits, SMALL.model_copy(update={"epochs": 1}), log=log)
    assert str(log.accounts[0]) == "36 examples -> 12 training crops; left out 9 in val, 9 in test, 6 held back"


def test_the_last_epoch_that_is_little_worse_than_the_best_is_kept(tmp_path, monkeypatch):
    examples, splits = draw(tmp_path / "crops")
    losses = iter([1.0, 0.8, 0.87, 0.9, 0.89])  # kept up to 0.88
    monkeypatch.setattr("trapline.learn.loop.balanced_loss", lambda scores, targets: next(losses))
    result = run(tmp_path, examples, splits, SMALL.model_copy(update={"epochs": 9, "patience": 2}))
    assert (result.best_epoch, result.epochs) == (2, 4)
    assert checkpoint.load(result.checkpoint).epoch == 2


def test_patience_stops_and_the_best_epoch_stays(tmp_path, monkeypatch):
    examples, splits = draw(tmp_path / "crops")
    recalls = iter([0.5, 0.6, 0.6, 0.4, 0.9])
    from trapline.learn.validation import Judgement

    monkeypatch.setattr("trapline.learn.loop.judge", lambda scores, targets: Judgement(1.0, next(recalls), 0.5))
    log = Log()
    reference = {"epochs": 9, "patience": 2, "recipe": "reference", "head_start": "auto"}
    result = run(tmp_path, examples, splits, SMALL.model_copy(update=reference), log=log)
    assert (result.best_epoch, result.best_val_macro_recall, result.epochs) == (1, 0.6, 3)
    assert checkpoint.load(result.checkpoint).epoch == 1
    assert any("stopped after epoch 3" in note for note in log.notes)


def test_a_random_head_has_no_epoch_zero(tmp_path):
    examples, splits = draw(tmp_path / "crops")
    run(tmp_path, examples, splits, SMALL.model_copy(update={"epochs": 1, "head_start": "random"}))
    assert [row["epoch"] for row in metrics(tmp_path / "run")] == [1]


def test_frozen_layers_keep_weights_and_statistics(tmp_path):
    examples, splits = draw(tmp_path / "crops")
    cfg = SMALL.model_copy(update={"epochs": 2, "freeze": 0.5})
    run(tmp_path, examples, splits, cfg)
    _, state = checkpoint.load_with_state(tmp_path / "run/checkpoints/last.pt")
    run(tmp_path, examples, splits, cfg.model_copy(update={"epochs": 1}), name="short")
    _, earlier = checkpoint.load_with_state(tmp_path / "short/checkpoints/last.pt")
    assert state
    assert earlier
    same = {name for name in state["model"] if torch.equal(state["model"][name], earlier["model"][name])}
    assert {"conv_stem.weight", "bn1.weight", "bn1.running_mean", "bn1.num_batches_tracked"} <= same
    assert "classifier.weight" not in same
    assert "bn2.running_mean" not in same


def test_a_vanished_crop_is_named(tmp_path):
    examples, splits = draw(tmp_path / "crops")
    (tmp_path / "crops/g1_bee_1.png").unlink()
    with pytest.raises(TraplineError, match=r"1 of 18 train crops are missing .*g1_bee_1.png.*trapline crop"):
        run(tmp_path, examples, splits)


@pytest.mark.parametrize("crop_id", ["g1_bee_1.png", "g3_ant_0.png"])
def test_a_crop_that_breaks_during_training_is_named(tmp_path, crop_id, monkeypatch):
    examples, splits = draw(tmp_path / "crops")
    start = Training.resume_or_start

    def breaks_then(self):
        (tmp_path / "crops" / crop_id).write_bytes(b"broken")
        return start(self)

    monkeypatch.setattr(Training, "resume_or_start", breaks_then)
    with pytest.raises(TraplineError, match=rf"cannot be used \(first: .*{crop_id}: not an image"):
        run(tmp_path, examples, splits)
    monkeypatch.undo()
    draw(tmp_path / "crops")  # made again
    assert run(tmp_path, examples, splits).epochs == 3


def test_a_loss_that_is_no_number_names_its_crops(tmp_path):
    examples, splits = draw(tmp_path / "crops")
    with pytest.raises(TraplineError, match=r"the loss is (nan|inf) at step \d+ .*g[12]_.*\.png.* lower --lr"):
        run(tmp_path, examples, splits, SMALL.model_copy(update={"lr": 1e30, "epochs": 9}))


def test_one_label_cannot_be_a_classifier(tmp_path):
    examples, splits = draw(tmp_path / "crops", labels=("ant",))
    with pytest.raises(InputError, match="all 6 training crops are labelled 'ant': a classifier needs two labels"):
        run(tmp_path, examples, splits)


def test_nothing_to_train_on(tmp_path):
    examples, splits = draw(tmp_path / "crops")
    with pytest.raises(InputError, match="none of 36 examples is in the train split"):
        run(tmp_path, examples, splits.with_columns(split=pl.lit("test")))


def test_several_labels_need_to_be_asked_for(tmp_path):
    examples, splits = draw(tmp_path / "crops")
    several = examples.with_columns(
        labels=pl.when(pl.col("crop_id") == "g1_bee_1.png").then(pl.lit(["ant", "bee"])).otherwise("labels")
    )
    with pytest.raises(
        InputError, match=r"1 of 36 crops have no label or several \(first: g1_bee_1.png\).*--multilabel"
    ):
        run(tmp_path, several, splits)


def test_two_labels_absent_labels_and_no_val(tmp_path):
    examples, splits = draw(tmp_path / "crops", labels=("ant", "bee", "cat", "dog"), each=2)
    keep = ~((pl.col("group_id") == "g3") & (pl.col("labels").list.first() == "bee"))
    keep &= ~(pl.col("group_id").is_in(["g1", "g2"]) & pl.col("labels").list.first().is_in(["cat", "dog"]))
    log = Log()
    cfg = SMALL.model_copy(update={"epochs": 2, "unlearnable": "keep"})
    with pytest.raises(InputError, match=r"2 of 4 labels cannot be learnt.*--unlearnable keep") as refused:
        run(tmp_path, examples.filter(keep), splits, SMALL)
    assert refused.value.problems == ("cat: 4 crops at 2 places", "dog: 4 crops at 2 places")
    assert not (tmp_path / "run").exists()
    result = run(tmp_path, examples.filter(keep), splits, cfg, log=log)
    assert "cannot be learnt: no training crops of cat, dog" in log.warnings
    assert "early stopping does not see all labels: val has no crops of bee" in log.warnings
    assert checkpoint.load(result.checkpoint).labels == ("ant", "bee", "cat", "dog")
    assert result.best_val_macro_recall is not None
    assert result.best_val_macro_recall <= 1 / 3 + 1e-9

    log = Log()
    no_val = splits.with_columns(split=pl.col("split").replace({"val": "test"}))
    result = run(tmp_path, examples, no_val, cfg.model_copy(update={"patience": 1}), name="no val", log=log)
    assert (result.best_epoch, result.best_val_macro_recall, result.epochs) == (2, None, 2)
    assert any("val is empty" in warning for warning in log.warnings)


def test_one_crop_of_each_of_two_labels(tmp_path):
    examples, splits = draw(tmp_path / "crops", groups=("g1",), labels=("ant", "bee"), each=1)
    result = run(tmp_path, examples, splits, SMALL.model_copy(update={"epochs": 1, "batch_size": 1}))
    assert result.epochs == 1


def test_zero_epochs_keep_the_probe(tmp_path):
    examples, splits = draw(tmp_path / "crops")
    result = run(tmp_path, examples, splits, SMALL.model_copy(update={"epochs": 0}))
    assert (result.best_epoch, result.epochs) == (0, 0)
    assert [row["epoch"] for row in metrics(tmp_path / "run")] == [0]
    assert checkpoint.load(result.checkpoint).epoch == 0
    nothing = SMALL.model_copy(update={"epochs": 0, "head_start": "random"})
    with pytest.raises(InputError, match="0 epochs train nothing without a probe"):
        run(tmp_path, examples, splits, nothing, name="nothing")
