"""The services are run as they are, without a network: each writes files, which are read back."""

import json
import zipfile

import pytest

import training
from trapline.core.errors import InputError
from trapline.core.log import Log
from trapline.learn import tracking
from trapline.learn.tracking import Tracker

OPTIONS = {"lr": 0.001, "model": "test_efficientnet", "weights": None}
ROWS = [
    {"epoch": 0, "val_loss": 1.5, "train_loss": None},
    {"epoch": 1, "val_loss": 1.25, "train_loss": 2.0},
    {"epoch": 2, "val_loss": 1.0, "train_loss": 1.5},
]


@pytest.fixture
def run_dir(tmp_path, monkeypatch):
    """A run's folder; the services are told by their own variables to stay at home."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("COMET_OFFLINE", "1")
    folder = tmp_path / "001-test"
    folder.mkdir()
    return folder


def tell(service, run_dir, rows):
    log = Log()
    tracker = Tracker(service, run_dir, OPTIONS, log)
    for row in rows:
        tracker.log(row)
    tracker.close()
    assert not log.warnings
    return json.loads((run_dir / "tracked.json").read_text())[service]


def test_mlflow_is_told_and_a_training_that_goes_on_stays_one_run(run_dir):
    from mlflow import MlflowClient

    key = tell("mlflow", run_dir, ROWS[:2])
    assert tell("mlflow", run_dir, ROWS[2:]) == key
    client = MlflowClient()
    found = client.get_run(key)
    assert (found.info.run_name, found.info.status) == ("001-test", "FINISHED")
    assert found.data.params == {"lr": "0.001", "model": "test_efficientnet", "weights": "None"}
    history = {
        name: [(m.step, m.value) for m in client.get_metric_history(key, name)] for name in ("val_loss", "train_loss")
    }
    assert history == {"val_loss": [(0, 1.5), (1, 1.25), (2, 1.0)], "train_loss": [(1, 2.0), (2, 1.5)]}


def test_wandb_is_told(run_dir):
    key = tell("wandb", run_dir, ROWS[:2])
    assert tell("wandb", run_dir, ROWS[2:]) == key
    (first, second) = sorted((run_dir / "wandb").glob(f"offline-run-*/run-{key}.wandb"))
    written = first.read_bytes()
    assert all(text in written for text in (b"001-test", b"test_efficientnet", b"val_loss", b"1.25"))
    assert b"1.25" not in second.read_bytes()


def test_comet_is_told(run_dir):
    key = tell("comet", run_dir, ROWS)
    (archive,) = run_dir.glob("*.zip")
    assert key in archive.name
    with zipfile.ZipFile(archive) as content:
        lines = [json.loads(line) for line in content.read("messages.json").splitlines()]
    metrics = [m["payload"]["metric"] for m in lines if m["type"] == "metric_msg"]
    assert [(m["metricValue"], m["step"]) for m in metrics if m["metricName"] == "val_loss"] == [
        (1.5, 0),
        (1.25, 1),
        (1.0, 2),
    ]


def test_a_package_that_is_missing_is_named(run_dir, monkeypatch):
    monkeypatch.setitem(tracking.PACKAGES, "wandb", "no_such_package")
    with pytest.raises(InputError, match="pip install no_such_package"):
        Tracker("wandb", run_dir, OPTIONS, Log())


def test_a_service_that_fails_costs_a_warning_and_no_training(run_dir, monkeypatch):
    log = Log()
    tracker = Tracker("mlflow", run_dir, OPTIONS, log)
    monkeypatch.setattr("mlflow.log_metrics", lambda *a, **k: 1 / 0)
    for row in ROWS:
        tracker.log(row)
    tracker.close()
    assert log.warnings == ["mlflow is not told about this run any more (division by zero). The training goes on."]


def test_nobody_asked(run_dir):
    Tracker(None, run_dir, OPTIONS, Log()).log(ROWS[0])
    assert not any(run_dir.iterdir())


def test_a_training_tells_what_its_metrics_say(run_dir, tmp_path):
    from mlflow import MlflowClient

    run = training.run(tmp_path, *training.draw(tmp_path / "crops"), epochs=1, track="mlflow").run_dir
    key = json.loads((run / "tracked.json").read_text())["mlflow"]
    last = training.metrics(run)[-1]
    found = MlflowClient().get_run(key)
    assert found.data.metrics["val_loss"] == last["val_loss"]
    assert found.data.metrics["train_loss"] == last["train_loss"]
    assert found.data.params["batch_size"] == "8"
