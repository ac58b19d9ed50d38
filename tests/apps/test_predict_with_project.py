"""Predictions of new images by a project's run: compared with training, decided on, exported; and the project's own."""

import csv
import json

import numpy as np
import polars as pl
import pytest
from frictionless import Package
from PIL import Image

import training
from trapline.cli import run_command
from trapline.core import schemas
from trapline.formats import cct

pytestmark = pytest.mark.usefixtures("one_core")
LABELS = ("ant", "bee", "cat")


def patch(label, random, size=(40, 40)):
    pixels = random.normal(0, 50, (*size, 3)) + training.COLOURS[label]
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def root(tmp_path_factory, one_core):
    """A project of ready-made crops at 12 places, trained and evaluated."""
    folder = tmp_path_factory.mktemp("project")
    random = np.random.default_rng(0)
    for place in range(12):
        for label in LABELS:
            (folder / f"crops/p{place}/{label}").mkdir(parents=True)
            for n in range(6):
                patch(label, random).save(folder / f"crops/p{place}/{label}/{n}.png")
    for command in (
        ["init", "p", "--images", "crops", "--folders", "location/label", "--ready-made"],
        ["train", "-p", "p", "--model", "test_efficientnet", "--no-pretrained", "--image-size", "32", "--epochs", "4",
         "--batch-size", "16", "--lr", "0.01", "--freeze", "0", "--device", "cpu"],
        ["evaluate", "-p", "p"],
    ):  # fmt: skip
        with pytest.MonkeyPatch.context() as patched:
            patched.chdir(folder)
            assert run_command(command) == 0
    return folder / "p"


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """Frames with one animal each at two places; those of `fog` show what training never did."""
    random = np.random.default_rng(1)
    records = []
    for place in ("ridge", "fog"):
        (tmp_path / "images" / place).mkdir(parents=True)
        for n in range(12):
            frame = Image.fromarray(random.integers(90, 120, (120, 160, 3), dtype=np.uint8))
            stripes = np.zeros((60, 60, 3), np.uint8)
            stripes[::6] = stripes[1::6] = stripes[2::6] = 255
            frame.paste(
                patch(LABELS[n % 3], random, (60, 60)) if place == "ridge" else Image.fromarray(stripes), (40, 30)
            )
            frame.save(tmp_path / f"images/{place}/{n}.jpg", quality=95)
            box = {"category": "1", "conf": 0.9, "bbox": [0.25, 0.25, 0.375, 0.5]}
            records.append({"file": f"{place}/{n}.jpg", "detections": [box] if n else []})
    content = {"info": {}, "detection_categories": {"1": "animal"}, "images": records}
    (tmp_path / "md.json").write_text(json.dumps(content))
    with open(tmp_path / "images.csv", "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "location", "datetime"])
        writer.writerows(
            [record["file"], record["file"].partition("/")[0], f"2024-05-01 {n // 2:02}:00:00"]
            for n, record in enumerate(records)
        )
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def say(capsys, root):
    def call(*arguments):
        code = run_command(["predict", *map(str, arguments), "-p", str(root)])
        text = " ".join("".join(capsys.readouterr()).split())
        assert "Traceback" not in text
        return code, text

    return call


WITH = ("--images", "images", "--detections", "md.json", "--images-table", "images.csv")


def test_new_images_are_compared_with_training_and_decided_on(desk, say, root):
    code, text = say(*WITH, "--out", "o.parquet", "--decide", "decided")
    assert code == 0
    assert "location fog: 100% of 11 crops are unlike anything in training" in text
    assert "location ridge" not in text
    assert "the checkpoint does not say" not in text
    found = pl.read_parquet("o.parquet")
    assert found["file"].n_unique() == 24
    assert found.columns == [*schemas.DETECTION_SCORES.columns, "unlike"]
    boxes = found.filter(pl.col("detection") == 0)
    assert boxes.filter(pl.col("location_id") == "ridge")["unlike"].sum() < 4
    assert found.filter(pl.col("detection").is_null())["unlike"].null_count() == 2
    answers = pl.read_csv("decided/answers.csv")
    assert answers.filter(pl.col("file").str.starts_with("fog/") & pl.col("detection").is_not_null())[
        "needs_person"
    ].all()
    assert (desk / "decided/counts.csv").exists()
    # what was found out about training is kept with the run: it can go where its project is not
    run = desk / "alone"
    (root / "runs/001-test_efficientnet").rename(run)
    try:
        code, text = say(*WITH, "--run", "alone", "--out", "again.parquet")
        assert pl.read_parquet("again.parquet").equals(found)
        code, text = say(*WITH, "--run", "alone/checkpoints/best.pt", "--out", "again.parquet", "--no-compare")
        assert pl.read_parquet("again.parquet")["unlike"].null_count() == 24
    finally:
        run.rename(root / "runs/001-test_efficientnet")


def test_probabilities_are_calibrated(desk, say, root):
    path = root / "runs/001-test_efficientnet/calibration.json"
    before = path.read_text()
    scores = {}
    try:
        for scale in (1.0, 0.5):
            told = json.loads(before) | {"method": "temperature", "scale": [scale] * 3, "offset": [0.0] * 3}
            path.write_text(json.dumps(told))
            say(*WITH, "--out", "o.csv", "--no-compare")
            scores[scale] = pl.read_csv("o.csv").drop("path").to_numpy()
    finally:
        path.write_text(before)
    flat = np.sqrt(scores[1.0])
    assert np.allclose(scores[0.5], flat / flat.sum(1, keepdims=True), atol=1e-5)


def test_the_standards_validator_passes_the_package(desk, say):
    (desk / "places.csv").write_text("dataset,location,latitude,longitude\nx,ridge,1.5,2.5\nx,fog,1,2\n")
    code, text = say(*WITH, "--out", "dp", "--utc-offset=-08:00")
    assert (code, "Camtrap DP wants coordinates of all locations" in text) == (2, True)
    code, text = say(*WITH, "--out", "dp", "o.json", "--to", "camtrap-dp", "cct", "--locations", "places.csv",
                     "--utc-offset=-08:00", "--no-compare")  # fmt: skip
    assert code == 0, text
    descriptor = json.loads((desk / "dp/datapackage.json").read_text())
    schemas_of = pytest.importorskip("trapline.formats.camtrap_dp.writer").SCHEMAS
    for resource in descriptor["resources"]:
        resource["schema"] = json.loads((schemas_of / f"{resource['name']}-table-schema.json").read_text())
    del descriptor["profile"]
    (desk / "dp/datapackage.json").write_text(json.dumps(descriptor))
    assert Package(str(desk / "dp/datapackage.json")).validate().valid
    rows = pl.read_csv("dp/observations.csv")
    assert rows.height == 22
    assert rows["classificationProbability"].min() > 0  # type: ignore[operator]
    assert rows["classifiedBy"].unique().to_list() == ["trapline 001-test_efficientnet"]
    again = cct.read(desk / "o.json")
    assert again.objects.filter(pl.col("box_x").is_not_null()).height == 22
    assert again.objects["validated"].any() is False


def test_labels_are_summed(desk, say):
    (desk / "map.json").write_text('{"insect": ["ant", "bee"], "other": ["cat"]}')
    assert say(*WITH, "--out", "o.csv", "--label-mapping", "map.json", "--no-compare")[0] == 0
    assert say(*WITH, "--out", "all.csv", "--no-compare")[0] == 0
    summed, every = pl.read_csv("o.csv"), pl.read_csv("all.csv")
    assert summed.columns == ["path", "insect", "other"]
    assert np.allclose(summed["insect"], every["ant"] + every["bee"], atol=1e-5)
    (desk / "map.json").write_text('{"insect": ["ant", "bug"]}')
    code, text = say(*WITH, "--out", "o.csv", "--label-mapping", "map.json")
    assert (code, "'bug', for 'insect', is a label neither of the classifier" in text) == (2, True)


def test_a_projects_own_predictions(desk, say):
    assert say("--out", "own.json", "own.csv")[0] == 0
    own = json.loads((desk / "own.json").read_text())
    assert len(own["images"]) == len({image["file"] for image in own["images"]}) == 12 * 3 * 6
    right = [own["classification_categories"][image["detections"][0]["classifications"][0][0]] in image["file"]
             for image in own["images"]]  # fmt: skip
    assert np.mean(right) > 0.9
    assert pl.read_csv("own.csv").height == 216
