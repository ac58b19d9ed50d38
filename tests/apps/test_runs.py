import json
import shutil

import polars as pl
import pytest

from training import SMALL, draw, run
from trapline.apps.runs import runs
from trapline.cli import run_command
from trapline.core import recipes
from trapline.core.config import TrainConfig
from trapline.core.errors import TraplineError
from trapline.core.schemas import METRICS
from trapline.io.runs import options_of


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    root = tmp_path_factory.mktemp("project")
    (root / "trapline.yaml").write_text("datasets: {d: {annotations: [a.json], images: .}}\n")
    examples, splits = draw(root / "crops")
    run(root, examples, splits, name="runs/001-a", epochs=2)
    run(root, examples, splits, name="runs/002-b", epochs=2, lr=0.03, num_workers=1)
    row = {"checkpoint_id": "002-b", "split": "test", "label": "", "group_kind": "", "group_value": ""}
    rows = [row | {"name": "macro_recall", "value": 0.75, "low": 0.5, "high": 0.875, "support": 9}]
    pl.DataFrame(rows, schema=METRICS.columns).write_parquet(root / "runs/002-b/metrics.parquet")
    (root / "runs/003-nothing-yet").mkdir()
    return root


def test_runs_stand_side_by_side_with_what_differs(project):
    first, second = runs(project / "runs")
    assert (first.name, first.state, first.epochs, first.planned) == ("001-a", "trained", 2, 2)
    assert (first.crops, first.labels, first.test) == (18, 3, None)
    story = [json.loads(line) for line in (project / "runs/001-a/metrics.jsonl").read_text().splitlines()]
    assert first.best_val == max(row["val_macro_recall"] for row in story)
    assert first.seconds == pytest.approx(sum(row["seconds"] for row in story))
    assert (second.state, second.test, second.low, second.high) == ("evaluated", 0.75, 0.5, 0.875)
    assert (first.differs, second.differs) == ({"lr": 0.01}, {"lr": 0.03})


def test_the_command_prints_a_table(project, capsys):
    assert run_command(["runs", "--project", str(project)]) == 0
    said = capsys.readouterr().out
    assert "001-a" in said
    assert "0.750 (0.500 to 0.875)" in " ".join(said.split())
    assert "lr=0.03" in said


def test_no_runs_and_a_damaged_one(project, tmp_path, capsys):
    shutil.copy(project / "trapline.yaml", tmp_path)
    assert run_command(["runs", "--project", str(tmp_path)]) == 0
    assert "trapline train" in capsys.readouterr().out
    (tmp_path / "runs/001-x").mkdir(parents=True)
    (tmp_path / "runs/001-x/params.json").write_text('{"config": 3')
    with pytest.raises(TraplineError, match=r"001-x/params.json is damaged"):
        runs(tmp_path / "runs")


def test_a_runs_options_are_those_it_was_trained_with(project):
    options = options_of(project / "runs/002-b/params.json")
    wanted = TrainConfig.model_validate({**SMALL.model_dump(), "epochs": 2, "lr": 0.03, "num_workers": 1})
    assert options == {**wanted.model_dump(exclude={"device"}), **recipes.of(wanted).options()}


@pytest.mark.parametrize(("text", "says"), [(None, "cannot be read"), ("{}", "is no params.json"), ("[", "is no p")])
def test_from_params_says_what_is_wrong(project, tmp_path, capsys, text, says):
    path = tmp_path / "params.json"
    if text is not None:
        path.write_text(text)
    assert run_command(["train", "--from-params", str(path), "--project", str(project)]) == 2
    assert says in capsys.readouterr().err


def test_from_params_names_options_that_there_are_no_more(project, tmp_path, capsys):
    path = tmp_path / "params.json"
    path.write_text('{"config": {"lr": 0.02, "leaning_rate": 3}}')
    assert run_command(["train", "--from-params", str(path), "--project", str(project)]) == 2
    assert "leaning_rate" in capsys.readouterr().err
