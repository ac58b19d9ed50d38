"""Decisions on a finished prediction, as a person has them: files in, files out, what is said."""

import json
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from PIL import Image

from projects import draw_small, write_project
from trapline.cli import run_command
from trapline.core import calibration
from trapline.core.schemas import DETECTION_SCORES
from trapline.formats import calibration_json
from trapline.project import Project

LABELS = ["coyote", "empty", "fox", "lynx"]
NOON = datetime(2024, 5, 1, 12)
FOX, FOX_OR_COYOTE, LYNX, EMPTY = (
    [0.02, 0.01, 0.95, 0.02],
    [0.46, 0.01, 0.5, 0.03],
    [0.02, 0.02, 0.02, 0.94],
    [0.02, 0.94, 0.02, 0.02],
)
BOXES = [  # file, detection, location, minutes after noon, scores, failure
    ("a/1.jpg", 0, "ridge", 0, FOX, None),
    ("a/2.jpg", 0, "ridge", 0.1, FOX_OR_COYOTE, None),  # the same burst: what its clear frame is
    ("a/3.jpg", 0, "ridge", 25, FOX, None),  # the same event
    ("a/4.jpg", 0, "ridge", 600, FOX_OR_COYOTE, None),
    ("a/5.jpg", 0, "ridge", 9 * 1440, FOX, None),
    ("a/5.jpg", 1, "ridge", 9 * 1440, LYNX, None),  # two species in one burst
    ("b/1.jpg", 0, "beach", 0, LYNX, None),
    ("b/2.jpg", 0, "beach", 60, EMPTY, None),
    ("b/3.jpg", None, "beach", 15 * 1440, None, None),
    ("b/4.jpg", 0, "beach", 61, None, "file is empty"),
    ("c/1.jpg", 0, None, None, FOX, None),
]  # fmt: skip


def boxes_of(rows):
    """DETECTION_SCORES rows."""
    table = pl.DataFrame(
        {
            "file": [row[0] for row in rows],
            "detection": [row[1] for row in rows],
            "image_id": None,
            "location_id": [row[2] for row in rows],
            "sequence_id": None,
            "captured_at": [None if row[3] is None else NOON + timedelta(minutes=row[3]) for row in rows],
            "box_x": 0.1, "box_y": 0.2, "box_w": 0.3, "box_h": 0.4, "conf": 0.9,
            "scores": pl.Series([row[4] for row in rows], dtype=pl.Array(pl.Float32, 4)),
            "failure": [row[5] for row in rows],
        },
        schema_overrides={**DETECTION_SCORES.columns, "scores": pl.Array(pl.Float32, 4)},
    )  # fmt: skip
    return DETECTION_SCORES.check(table)


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A run that was evaluated, and a prediction of it."""
    run = tmp_path / "run"
    run.mkdir()
    (run / "params.json").write_text(json.dumps({"labels": LABELS}))
    known = calibration.none(LABELS, "for the test")
    calibration_json.write(
        run / "calibration.json", replace(known, precision=0.9, thresholds=dict.fromkeys(LABELS, 0.8))
    )
    boxes_of(BOXES).write_parquet(tmp_path / "scores.parquet")
    # held-out crops of the run: foxes and coyotes that it does not tell apart, lynxes that it does
    rng = np.random.default_rng(0)
    held = pl.DataFrame(
        [
            (f"{split}{n}", split, f"{split} {n % 12}", "lynx" if n % 2 else ("fox", "coyote")[int(rng.integers(2))])
            for split in ("val", "test")
            for n in range(240)
        ],
        schema=["crop_id", "split", "group_id", "label"], orient="row",
    )  # fmt: skip
    held.with_columns(confidence=0.7 + 0.002 * pl.int_range(pl.len()).mod(12)).write_parquet(run / "scored.parquet")
    scores = [LYNX if label == "lynx" else FOX_OR_COYOTE for label in held["label"]]
    held.select("crop_id", scores=pl.Series(scores, dtype=pl.Array(pl.Float32, 4))).write_parquet(
        run / "predictions.parquet"
    )
    (tmp_path / "taxa.csv").write_text("label,family\nfox,Canidae\ncoyote,Canidae\nlynx,Felidae\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def say(capsys):
    def run(*arguments, scores="scores.parquet"):
        code = run_command(["decide", scores, "--run", "run", "--out", "out", *arguments])
        text = " ".join("".join(capsys.readouterr()).split())
        assert "Traceback" not in text
        return code, text

    return run


def table(name):
    return pl.read_csv(f"out/{name}.csv", null_values="", infer_schema_length=None)


def test_answers_in_their_burst_and_up_the_taxonomy(desk, say):
    code, text = say("--taxonomy", "taxa.csv")
    assert code == 0
    found = table("answers")
    assert found.select("file", "answer", "level").rows() == [
        ("a/1.jpg", "fox", "label"), ("a/2.jpg", "fox", "label"),
        ("a/3.jpg", "fox", "label"), ("a/4.jpg", "Canidae", "family"),
        ("a/5.jpg", "fox", "label"), ("a/5.jpg", "lynx", "label"),
        ("b/1.jpg", "lynx", "label"), ("b/2.jpg", "empty", "label"), ("b/3.jpg", None, None), ("b/4.jpg", None, None),
        ("c/1.jpg", "fox", "label"),
    ]  # fmt: skip
    assert "11 boxes and images -> 9 answers; left out" in text
    assert "1 that could not be read" in text
    assert "1 images without a box" in text
    assert "roll-up at test: 120 of 240 crops are given a taxon instead of a label, 100% of them right" in text
    trial = table("rollup").filter((pl.col("answer") == "Canidae") & (pl.col("split") == "val")).row(0, named=True)
    assert (trial["crops"], trial["labels"]) == (120, "coyote; fox")


def test_without_a_taxonomy_it_is_unsure(desk, say):
    assert say()[0] == 0
    assert table("answers").filter(file="a/4.jpg")["answer"].item() == "unsure"


def test_counts_history_and_figure(desk, say):
    assert say()[0] == 0
    counts = table("counts")
    fox = counts.filter((pl.col("label") == "fox") & (pl.col("location_id") == "ridge")).sort("date")
    assert fox.select("date", "events", "sequences").rows()[0] == ("2024-05-01", 1, 2)
    assert "empty" not in counts["label"].to_list()
    lines = (desk / "out" / "detection_history.csv").read_text().splitlines()
    assert lines[0] == "label,level,location_id,2024-05-01,2024-05-08,2024-05-15"
    assert "lynx,label,beach,1,0,0" in lines  # an image without a box shows that the camera ran
    assert "lynx,label,ridge,0,1,NA" in lines
    assert (desk / "out" / "effort.csv").read_text().splitlines()[1] == "beach,7,7,2"
    assert (desk / "out" / "counts.png").read_bytes()[:4] == b"\x89PNG"


def test_the_review_list(desk, say):
    assert say()[0] == 0
    review = table("review")
    assert review.columns == [
        "rank", "file", "detection", "box_x", "box_y", "box_w", "box_h", "label", "conf", "reason", "gain",
    ]  # fmt: skip
    assert review["rank"].to_list() == list(range(1, review.height + 1))
    assert review["gain"].is_sorted(descending=True)
    reason = dict(review.select("file", "reason").rows())
    assert "unsure: fox 50% or coyote 46%" in reason["a/4.jpg"]
    assert "rare: 1 sequence(s) of lynx" in reason["b/1.jpg"]
    assert "b/4.jpg" not in reason


def test_allowed_labels(desk, say):
    (desk / "allowed.csv").write_text("label,location\nfox,\nlynx,ridge\n")
    code, text = say("--allowed", "allowed.csv")
    assert code == 0
    found = {(row["file"], row["detection"]): row for row in table("answers").iter_rows(named=True)}
    assert found["a/4.jpg", 0]["answer"] == "fox"  # a coyote cannot be
    assert found["a/4.jpg", 0]["removed"] == pytest.approx(0.47, abs=0.001)
    assert found["a/5.jpg", 1]["answer"] == "lynx"
    assert found["b/1.jpg", 0]["answer"] == "unsure"  # a sure lynx where none is allowed is a person's to see
    assert found["b/1.jpg", 0]["needs_person"]
    assert "2 lost more than half, and are left to a person" in text
    (desk / "allowed.csv").write_text("label\nfxo\n")
    code, text = say("--allowed", "allowed.csv")
    assert code == 2
    assert "'fxo' is no label of the classifier; did you mean fox?" in text


def test_places_and_times_from_a_table(desk, say):
    (desk / "meta.csv").write_text("path,location,datetime\nc/1.jpg,cove,2024-05-02 10:00:00\nd/9.jpg,cove,\n")
    code, text = say("--images-table", "meta.csv")
    assert code == 0
    assert "left out 1 not of these images" in text
    assert "9 of 10 images are not in meta.csv (first: a/1.jpg)" in text
    assert table("counts").filter(pl.col("location_id") == "cove")["date"].to_list() == ["2024-05-02"]
    (desk / "meta.csv").write_text("path,location\nx.jpg,cove\n")
    assert say("--images-table", "meta.csv")[0] == 2
    (desk / "meta.csv").write_text("path,datetime\nc/1.jpg,yesterday\n")
    assert "1 of 1 times cannot be read (first: 'yesterday'" in say("--images-table", "meta.csv")[1]


def test_deployments(desk, say):
    (desk / "dep.csv").write_text(
        "locationID,deploymentStart,deploymentEnd\nridge,2024-04-24T08:00:00Z,2024-05-12T08:00:00Z\n"
    )
    assert say("--deployments", "dep.csv")[0] == 0
    assert (desk / "out" / "effort.csv").read_text().splitlines()[:3] == [
        "location_id,2024-04-24,2024-05-01,2024-05-08,2024-05-15", "beach,0,7,7,2", "ridge,7,7,5,0",
    ]  # fmt: skip
    (desk / "dep.csv").write_text("location,start,end\nridge,2024-05-03,2024-05-01\nbeach,,2024-05-01\n")
    code, text = say("--deployments", "dep.csv")
    assert code == 2
    assert "has 2 line(s) that cannot be used" in text
    assert "line 2: it ends before it begins" in text


def test_thresholds_that_are_not_known(desk, say):
    (desk / "run" / "calibration.json").unlink()
    code, text = say()
    assert code == 0
    assert "no thresholds are known" in text
    assert set(table("answers")["answer"].drop_nulls()) == {"unsure"}
    assert say("--threshold", "0.8")[0] == 0
    assert "fox" in table("answers")["answer"].to_list()


def test_what_does_not_fit_is_said(desk, say):
    assert "there are no predictions nowhere.parquet" in say(scores="nowhere.parquet")[1]
    (desk / "run" / "params.json").write_text(json.dumps({"labels": ["fox", "lynx"]}))
    code, text = say()
    assert (code, "holds 4 scores per box, but the run has 2 labels" in text) == (2, True)
    pl.DataFrame({"crop_id": ["x"]}).write_parquet("other.parquet")
    assert "lacks the columns file" in say(scores="other.parquet")[1]
    (desk / "run" / "params.json").unlink()
    assert "is not a run" in say()[1]


def test_no_box_at_all(desk, say):
    pl.read_parquet("scores.parquet").filter(pl.col("scores").is_null()).write_parquet("none.parquet")
    code, text = say("--taxonomy", "taxa.csv", scores="none.parquet")
    assert code == 0
    assert "2 boxes and images -> 0 answers" in text


def test_a_place_where_the_classifier_is_unusually_unsure(desk, say):
    code, text = say()
    assert code == 0
    assert "unlike what it was tried on" not in text  # too few boxes to tell
    fog = [(f"d/{n}.jpg", 0, "fog", n, FOX_OR_COYOTE, None) for n in range(20)]
    sun = [(f"e/{n}.jpg", 0, "sun", n, FOX, None) for n in range(20)]
    pl.concat([boxes_of(fog), boxes_of(sun)]).write_parquet("new.parquet")
    _, text = say(scores="new.parquet")
    assert (
        "fog: the classifier is less sure of its 20 boxes (50% on average) than at any of 12 held-out val locations "
        "(lowest 70%, mean 71%)"
    ) in text
    assert "sun: the classifier" not in text
    assert table("drift").select("location_id", "boxes", "unlike").rows() == [("fog", 20, True), ("sun", 20, False)]


def test_a_project_decides_on_its_own_boxes(tmp_path):
    root = write_project(tmp_path / "p", draw_small(tmp_path / "drawn"))
    project = Project(root)
    project.run(max_failures=10)
    run = next((root / "runs").iterdir())
    out = tmp_path / "out"
    assert run_command(["decide", "--run", run.name, "-p", str(root), "--out", str(out), "--threshold", "0.2"]) == 0
    answers = pl.read_parquet(out / "answers.parquet")
    examples, crops, images = (project.table(name) for name in ("examples", "crops", "images"))
    assert answers["likeliest"].count() == examples.height
    assert set(answers["failure"].drop_nulls()) == set(crops["failure"].drop_nulls())
    assert answers["detection"].count() == crops.height
    assert answers.height - crops.height == images.join(crops, on="image_id", how="anti").height == 14
    scores = pl.read_parquet(out / "scores.parquet")
    assert set(scores["file"]) == set("demo/" + images["file_name"])
    picture = np.asarray(Image.open(out / "counts.png").convert("RGB")).astype(int)
    bars = np.abs(picture - (0, 114, 178)).sum(axis=2) < 30  # their blue, and nothing else's
    assert bars[:, picture.shape[1] // 2 :].mean() > 0.005
    metrics = project.table("metrics").filter(
        pl.col("split") == "test", pl.col("label") == "", pl.col("group_kind") == "", pl.col("name") == "accuracy"
    )
    test = examples.join(project.table("splits"), on="group_id").filter(pl.col("split") == "test")
    told = test.join(images, on="image_id").with_columns(file="demo/" + pl.col("file_name"))
    told = told.join(answers.select("file", "likeliest"), on="file").filter(pl.len().over("crop_id") == 1)
    right = (told["labels"].list.first() == told["likeliest"]).mean()
    assert right == pytest.approx(metrics["value"][0], abs=0.1)  # single boxes only: nearly evaluate's accuracy
    assert run_command(["decide", "--run", "nothing", "-p", str(root), "--out", str(out)]) == 2
