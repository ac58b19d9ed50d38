"""A run whose crops may have several labels, evaluated, shown, and refused where one label is needed."""

import gzip
import json

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import average_precision_score

import training
from trapline.apps.compare import compare
from trapline.apps.decide import decide_predictions
from trapline.apps.runs import runs
from trapline.core.config import DecideConfig, EvaluateConfig
from trapline.core.errors import InputError
from trapline.core.log import Log
from trapline.core.schemas import PREDICTIONS
from trapline.stages.evaluate import evaluate

HOSTILE = "<script>alert(1)</script>"
LABELS = ("ant", "bee", HOSTILE)
PLACES = [f"g{n:02d}" for n in range(30)]


@pytest.fixture
def run_dir(tmp_path):
    """A finished run of three labels."""
    folder = tmp_path / "runs" / "001-several"
    folder.mkdir(parents=True)
    params = {
        "labels": LABELS,
        "config": {"multilabel": True, "model": "m"},
        "train": {"ant": 3},
        "fingerprint": "f" * 9,
    }
    (folder / "params.json").write_text(json.dumps(params))
    rows = [{"epoch": n, "val_loss": 0.5, "val_macro_recall": 0.9, "val_mean_ap": 0.6 + n / 10} for n in range(2)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"epoch": 2, "val_')
    (folder / "done.json").write_text(
        '{"checkpoint": "c", "best_epoch": 1, "best_val_macro_recall": null, "epochs": 1}'
    )
    return folder


def scored(crops=600):
    """EXAMPLES, SPLITS and PREDICTIONS; places 0-9 are of test, 10-19 of val."""
    random = np.random.default_rng(1)
    truth = random.random((crops, 3)) < [0.5, 0.4, 0.2]
    scores = np.clip(0.25 + 0.5 * truth + random.normal(0, 0.25, truth.shape), 0, 1).astype(np.float32)
    rows = [
        {
            "crop_id": f"{k:03d}.jpg",
            "labels": [LABELS[n] for n in np.flatnonzero(truth[k])],
            "group_id": PLACES[k % 30],
            "location_id": PLACES[k % 30],
        }
        for k in range(crops)
    ]
    splits = {place: ("test", "val", "train")[n // 10] for n, place in enumerate(PLACES)}
    examples, predictions = training.examples_of(rows), pl.DataFrame({"crop_id": [row["crop_id"] for row in rows]})
    predictions = predictions.with_columns(
        scores=pl.Series(scores, dtype=pl.Array(pl.Float32, 3)), failure=pl.lit(None, pl.String)
    )
    return examples, training.splits_of(splits), PREDICTIONS.check(predictions), truth, scores


def judge(run_dir, tmp_path, examples, splits, predictions, log=None):
    return evaluate(
        predictions, examples, splits, EvaluateConfig(), run_dir=run_dir, crops_dir=tmp_path, log=log or Log()
    )


def test_it_is_judged_at_the_held_out_places(run_dir, tmp_path):
    examples, splits, predictions, truth, scores = scored()
    log = Log()
    found = judge(run_dir, tmp_path, examples, splits, predictions, log)
    assert [str(account) for account in log.accounts] == ["600 examples -> 600 scored crops"]
    assert (examples["labels"].list.len() == 0).any()  # a crop without a label is judged, too
    assert (examples["labels"].list.len() > 1).any()
    test = np.arange(600) % 30 < 10
    value = found.filter(pl.col("name") == "macro_average_precision", pl.col("split") == "test").row(0, named=True)
    assert value["value"] == pytest.approx(average_precision_score(truth[test], scores[test]), abs=1e-6)
    assert value["low"] < value["value"] < value["high"]
    rows = pl.read_csv(gzip.decompress((run_dir / "outputs_test.csv.gz").read_bytes()))
    assert rows.height == test.sum()
    own = dict(zip(examples["crop_id"], examples["labels"], strict=True))
    assert all((row["label"] or "") == ",".join(own[row["path"]]) for row in rows.iter_rows(named=True))
    page = (run_dir / "report.html").read_text()
    assert f"the mean average precision over labels is {100 * value['value']:.0f}%" in page
    assert HOSTILE not in page
    assert "&lt;script&gt;" in page


def test_unknown_labels_are_left_out_and_counted(run_dir, tmp_path):
    examples, splits, predictions, *_ = scored()
    strange = pl.when(pl.col("crop_id") == "000.jpg").then(pl.lit(["ant", "yak"])).otherwise("labels")
    log = Log()
    judge(run_dir, tmp_path, examples.with_columns(labels=strange), splits, predictions, log)
    assert "left out 1 of a label that the model does not know" in str(log.accounts[0])
    assert "yak" in log.warnings[0]
    assert "of a label that the model does not know: yak" in (run_dir / "report.html").read_text()


def test_runs_lists_it_by_its_own_figure_and_skips_a_torn_line(run_dir, tmp_path):
    found = judge(run_dir, tmp_path, *scored()[:3])
    wanted = found.filter(pl.col("name") == "macro_average_precision", pl.col("split") == "test")["value"][0]
    (row,) = runs(tmp_path / "runs")
    assert (row.best_val, row.test, row.epochs, row.state) == (0.7, wanted, 1, "evaluated")


def test_what_needs_one_label_refuses(run_dir, tmp_path):
    judge(run_dir, tmp_path, *scored()[:3])
    with pytest.raises(InputError, match="trained with --multilabel"):
        compare("001-several", "001-several", root=tmp_path)
    with pytest.raises(InputError, match="decide chooses one label per box"):
        decide_predictions(tmp_path / "p.parquet", run_dir, tmp_path / "out", DecideConfig(), log=Log())
