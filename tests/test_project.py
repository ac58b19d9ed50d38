"""A project as its user lives with it: run, run again, change something, look at the status."""

import json

import polars as pl
import pytest

from projects import QUICK, draw_small, write_project
from trapline import Project
from trapline.core.errors import InputError, LockHeld, RunIsStale, TooManyFailures, TraplineError
from trapline.io.ledger import lock


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return draw_small(tmp_path_factory.mktemp("drawn"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory, drawn):
    """A project that ran once, whole. Tests that change it must put it back."""
    root = write_project(tmp_path_factory.mktemp("finished"), drawn)
    project = Project(root)
    project.run()
    return root


def contents(root):
    """Every file of a project and when it changed."""
    return {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file() and path.name != "lock"}


def states(project):
    return {status.stage: status.state for status in project.status()}


def test_one_run_makes_everything(finished, drawn):
    project = Project(finished)
    assert set(states(project).values()) == {"up to date"}
    for name in ("classification_ds.csv", "label_index.json", "splits.json"):
        assert (finished / "dataset" / name).exists()
    run = next((finished / "runs").iterdir())
    for name in ("params.json", "metrics.jsonl", "report.html", "outputs_test.csv.gz", "overall_metrics.csv"):
        assert (run / name).exists()
    crops = project.table("crops")
    assert crops.height == drawn.n_boxes
    failed = crops.filter(pl.col("failure").is_not_null())["image_id"].unique().to_list()
    assert sorted(failed) == sorted(f"demo/{fault.image_id}" for fault in drawn.broken)


def test_no_group_straddles_splits(finished):
    project = Project(finished)
    placed = project.table("examples").join(project.table("splits"), on="group_id")
    assert placed.group_by("group_id").agg(pl.col("split").n_unique())["split"].max() == 1
    assert placed.group_by("camera_id").agg(pl.col("split").n_unique())["split"].max() == 1
    names = json.loads((finished / "dataset" / "splits.json").read_text())
    locations = [tuple(pair) for pairs in names.values() for pair in pairs]
    assert len(locations) == len(set(locations))


def test_running_again_touches_nothing(finished):
    before = contents(finished)
    Project(finished).run()
    assert contents(finished) == before


def test_status_touches_nothing_and_names_reasons(finished):
    before = contents(finished)
    text = (finished / "trapline.yaml").read_text()
    try:
        (finished / "trapline.yaml").write_text(text.replace("val_frac: 0.2", "val_frac: 0.3"))
        found = {status.stage: status for status in Project(finished).status()}
        assert found["dataset"].state == "up to date"
        assert found["split"].state == "stale"
        assert found["split"].reasons == ("val_frac 0.2 -> 0.3",)
        assert found["train"].state == "waiting"
    finally:
        (finished / "trapline.yaml").write_text(text)
    assert contents(finished).keys() == before.keys()


def test_an_option_sticks_until_the_yaml_speaks(tmp_path, drawn):
    root = write_project(tmp_path / "p", drawn)
    project = Project(root)
    project.make("split", {"val_frac": 0.4})
    wider = project.table("splits")
    made_with = {status.stage: dict(status.made_with) for status in project.status()}
    assert made_with["split"] == {"val_frac": 0.4}
    project.run(until="split")  # run keeps it
    assert project.table("splits").equals(wider)
    project.make("split", {})  # the stage's own command says what the YAML says
    assert states(project)["split"] == "up to date"
    assert not project.table("splits").equals(wider)
    project.save("split", {"val_frac": 0.4})
    assert states(Project(root))["split"] == "stale"
    assert "val_frac: 0.4" in (root / "trapline.yaml").read_text()


def test_an_inert_option_makes_nothing_stale(finished):
    text = (finished / "trapline.yaml").read_text()
    try:
        (finished / "trapline.yaml").write_text(text.replace("num_workers: 0", "num_workers: 1"))
        assert set(states(Project(finished)).values()) == {"up to date"}
    finally:
        (finished / "trapline.yaml").write_text(text)


def test_a_stale_training_waits_to_be_asked(finished):
    project = Project(finished)
    record = next(status.record for status in project.status() if status.stage == "train")
    text = (finished / "trapline.yaml").read_text()
    try:
        (finished / "trapline.yaml").write_text(text.replace("epochs: 2", "epochs: 1"))
        with pytest.raises(RunIsStale, match=r"epochs 2 -> 1.*takes about .* minutes.*--retrain"):
            Project(finished).run()
        assert len(list((finished / "runs").iterdir())) == 1
    finally:
        (finished / "trapline.yaml").write_text(text)
    assert states(Project(finished))["train"] == "up to date"
    assert record is not None


def test_retrain_makes_a_second_run(finished):
    text = (finished / "trapline.yaml").read_text()
    (finished / "trapline.yaml").write_text(text.replace("epochs: 2", "epochs: 1"))
    Project(finished).run(retrain=True)
    assert sorted(path.name[:3] for path in (finished / "runs").iterdir()) == ["001", "002"]
    assert set(states(Project(finished)).values()) == {"up to date"}


def test_failures_over_the_limit_end_with_a_list(tmp_path, drawn):
    root = write_project(tmp_path / "p", drawn, max_failures=0)
    project = Project(root)
    with pytest.raises(
        TooManyFailures, match=rf"{len(drawn.broken)} images failed and max_failures is 0.*failures.csv"
    ):
        project.run(until="split")
    assert states(project)["split"] == "up to date"
    listed = pl.read_csv(root / "failures.csv")
    assert set(listed["file_name"]) == {fault.file_name for fault in drawn.broken}
    project.run(until="split", max_failures=len(drawn.broken))


def test_a_second_trapline_is_kept_out(finished):
    project = Project(finished)
    with lock(project.layout.lock), pytest.raises(LockHeld, match=r"another trapline is at work in .*process \d+"):
        project.run()


def test_predict_never_starts_a_training(tmp_path, drawn):
    root = write_project(tmp_path / "p", drawn)
    project = Project(root)
    with pytest.raises(InputError, match=r"predict needs a trained classifier.*trapline train"):
        project.make("predict", {})
    assert not (root / "runs").exists()


def test_from_needs_what_comes_before(tmp_path, drawn):
    project = Project(write_project(tmp_path / "p", drawn))
    with pytest.raises(InputError, match="cannot start from split: ingest was not made yet"):
        project.run(from_="split")
    with pytest.raises(InputError, match=r"no stage 'spilt'.*ingest, fetch, crop"):
        project.run(until="spilt")


def test_embed_is_made_only_when_asked_for(finished):
    project = Project(finished)
    assert "embed" not in states(project)
    project.make("embed")
    embeddings = project.table("embeddings")
    assert embeddings.height == project.table("examples").height
    assert states(project)["embed"] == "up to date"


def test_two_datasets_live_in_one_project(tmp_path, drawn):
    other = draw_small(tmp_path / "drawn2")
    root = write_project(tmp_path / "p", drawn)
    text = (root / "trapline.yaml").read_text()
    extra = f'  again:\n    annotations: ["{other.annotations}"]\n    images: "{other.images}"\n'
    (root / "trapline.yaml").write_text(text.replace("\n# Images that may fail", f"{extra}\n# Images that may fail", 1))
    project = Project(root)
    project.run(until="split", max_failures=2 * len(drawn.broken))
    assert project.table("examples")["dataset"].value_counts().sort("dataset")["count"].n_unique() == 1
    assert project.table("crops")["crop_id"].is_unique().all()


def test_folds_score_every_place_by_a_classifier_that_had_not_seen_it(tmp_path, drawn):
    root = write_project(tmp_path / "p", drawn, split={"folds": 3}, train={**QUICK.model_dump(), "epochs": 1})
    project = Project(root)
    project.run()
    runs = sorted((root / "runs").iterdir())
    assert len(runs) == 3
    splits, examples = project.table("splits"), project.table("examples")
    assert sorted(splits["fold"].unique()) == [0, 1, 2]
    assert project.table("predictions")["crop_id"].sort().equals(examples["crop_id"].sort())
    for fold, run in enumerate(runs):
        scored = pl.read_parquet(run / "predictions" / "part-*.parquet").join(examples, on="crop_id")
        assert scored.join(splits, on="group_id")["fold"].unique().to_list() == [fold]
        params = json.loads((run / "params.json").read_text())
        others = examples.join(splits, on="group_id").filter(pl.col("fold") == (fold + 1) % 3)
        assert sum(params["val"].values()) == others.height
    found = project.table("metrics").filter(name="macro_recall", label="", group_kind="")
    assert found.filter(pl.col("value").is_not_null())["split"].to_list() == ["test"]
    assert "3 classifiers were trained alike" in (runs[0] / "report.html").read_text()
    before = contents(root)
    Project(root).run()
    assert contents(root) == before


def test_a_run_of_other_splits_is_not_scored(finished):
    project = Project(finished)
    name = sorted(path.name for path in (finished / "runs").iterdir())[0]
    made = finished / "runs" / name / "made_from.json"
    text = made.read_text()
    try:
        made.write_text(text.replace('"splits":"', '"splits":"other '))
        with pytest.raises(TraplineError, match=r"was trained on other splits: cameras of the present test split"):
            project.make("predict", {"run": name})
    finally:
        made.write_text(text)
    with pytest.raises(TraplineError, match=r"run 099-none is not a finished run\. Finished: 001"):
        project.make("predict", {"run": "099-none"})
