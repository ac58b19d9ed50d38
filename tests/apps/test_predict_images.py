"""New images predicted as a person has it: a run, a folder and a detector's results in; the field's files out."""

import json
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from PIL import Image

import training
from trapline.cli import run_command
from trapline.core.config import PredictConfig
from trapline.core.log import Log
from trapline.io.ledger import Parts
from trapline.learn.deployed import Deployed
from trapline.stages.predict import predict

pytestmark = pytest.mark.usefixtures("one_core")

SEEN: dict[str, list[str]] = {"a.jpg": ["ant", "bee"], "cam 1/b.jpg": ["cat"], "cam 1/c.jpg": ["bee"], "d.jpg": []}
BOXES = [[0.05, 0.1, 0.3, 0.4], [0.5, 0.3, 0.4, 0.6]]


@pytest.fixture(scope="module")
def run(tmp_path_factory, one_core):
    """A run's folder alone: its classifier tells colours."""
    folder = tmp_path_factory.mktemp("run")
    training.run(folder, *training.draw(folder / "crops", each=6), epochs=6)
    return folder / "run"


def photograph(labels, size=(300, 220)):
    """A noisy picture with a patch of each label's colour in its box."""
    random = np.random.default_rng(len(labels))
    pixels = random.normal(110, 20, (size[1], size[0], 3))
    for label, (x, y, w, h) in zip(labels, BOXES, strict=False):
        rows, columns = slice(int(y * size[1]), int((y + h) * size[1])), slice(int(x * size[0]), int((x + w) * size[0]))
        pixels[rows, columns] = random.normal(0, 40, pixels[rows, columns].shape) + training.COLOURS[label]
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """Images and what a detector made of them, some of it odd; works there."""
    (tmp_path / "images/cam 1").mkdir(parents=True)
    for name, labels in SEEN.items():
        photograph(labels).save(tmp_path / "images" / name, quality=95)
    (tmp_path / "images/broken.jpg").write_bytes(b"\xff\xd8 no picture")
    records = [
        {"file": name, "detections": [
            {"category": "1", "conf": 0.9 - 0.1 * n, "bbox": box, "tag": n}
            for n, (_, box) in enumerate(zip(labels, BOXES, strict=False))
        ], "mine": {"deep": [1, None]}}
        for name, labels in SEEN.items()
    ]  # fmt: skip
    records[1]["detections"] += [
        {"category": "1", "conf": 0.05, "bbox": BOXES[1]},
        {"category": "3", "conf": 0.99, "bbox": BOXES[1], "classifications": [["7", 0.8]]},
    ]
    box = [{"category": "1", "conf": 0.8, "bbox": BOXES[0]}]
    records += [
        {"file": "failed.jpg", "detections": None, "failure": "Failure image access"},
        {"file": "gone.jpg", "detections": box},
        {"file": "broken.jpg", "detections": box},
        {"file": "../away.jpg", "detections": box},
    ]
    content = {
        "info": {"format_version": "1.5", "detector": "md_v5a.0.0.pt", "note": "of mine"},
        "detection_categories": {"1": "animal", "2": "person", "3": "vehicle"},
        "classification_categories": {"7": "lorry", "0": "bee"},
        "images": records,
        "rest": [{"a": 1}, 2],
    }
    (tmp_path / "md.json").write_text(json.dumps(content))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def say(capsys, run):
    def call(*arguments, name=run):
        code = run_command(["predict", "--run", str(name), *map(str, arguments)])
        text = " ".join("".join(capsys.readouterr()).split())
        assert "Traceback" not in text
        return code, text

    return call


WITH = ("--images", "images", "--detections", "md.json")


def test_the_detectors_file_is_completed_and_nothing_in_it_lost(desk, say):
    code, text = say(*WITH, "--out", "out.json", "t.csv", "--to", "md", "tidy")
    assert code == 3
    assert "3 of 8 images could not be read; each is in the outputs" in text
    assert "9 boxes -> 4 classified; left out 1 of other categories, 1 below confidence 0.2, 3 could not" in text
    (desk / "images/new.jpg").write_bytes(b"")
    assert "1 pictures of images are not in md.json (first: new.jpg)" in say(*WITH, "--out", "o.json")[1]
    assert "1 boxes of md.json bear classifications already" in text
    given, found = json.loads((desk / "md.json").read_text()), json.loads((desk / "out.json").read_text())
    classes = found["classification_categories"]
    assert {classes[number] for number in classes} == {"lorry", "ant", "bee", "cat"}
    assert (classes["7"], classes["0"]) == ("lorry", "bee")
    named: dict[tuple[str, int], str] = {}
    for image in found["images"]:
        for n, box in enumerate(image["detections"] or []):
            if box.get("tag") is not None:
                assert [score for _, score in box["classifications"]] == sorted(
                    (score for _, score in box["classifications"]), reverse=True
                )
                named[image["file"], n] = classes[box.pop("classifications")[0][0]]
        image.pop("classification_failure", None)
    assert named == {(file, n): label for file, labels in SEEN.items() for n, label in enumerate(labels)}
    assert found["info"].pop("classifier") == "trapline run"
    assert found["info"].pop("format_version") == "1.6"
    assert found["info"]["note"] == "of mine"
    assert found["images"] == given["images"]
    assert {key: found[key] for key in ("detection_categories", "rest")} == {
        key: given[key] for key in ("detection_categories", "rest")
    }
    assert not list(desk.glob("*.parts"))
    table = pl.read_csv(desk / "t.csv")
    assert table["file"].unique(maintain_order=True).to_list() == [image["file"] for image in given["images"]]
    assert table.filter(pl.col("failure").is_not_null()).select("file", "failure").rows() == [
        ("failed.jpg", "detector: Failure image access"), ("gone.jpg", "file is missing"),
        ("broken.jpg", "not an image"),
        ("../away.jpg", "file name climbs out of its folder"),
    ]  # fmt: skip


def test_scores_are_those_of_crops_on_disk(desk, say, run):
    """Cropping to files and predicting those is the reference: the same to the last digits."""
    say(*WITH, "--out", "one.csv", "--precision", "fp32", "--max-failures", 3)
    run_command(["crop", "--detections", "md.json", "--images", "images", "--out", "crops",
                 "--categories", "animal", "--max-failures", "9"])  # fmt: skip
    names = sorted(path.relative_to(desk / "crops").as_posix() for path in (desk / "crops").rglob("*.jpg"))
    reference = predict(
        run / "checkpoints/best.pt",
        pl.DataFrame({"crop_id": names}),
        PredictConfig(device="cpu"),
        crops_dir=desk / "crops",
        parts=Parts(desk / "p"),
        log=Log(),
    )
    found = pl.read_csv("one.csv").sort("path")
    assert found["path"].to_list() == names
    assert np.abs(found.select("ant", "bee", "cat").to_numpy() - reference["scores"].to_numpy()).max() < 1e-5
    # crops that are ready: the same figures, from the same files
    assert say("--crops", "crops", "--out", "two.csv", "--precision", "fp32")[0] == 0
    ready = pl.read_csv("two.csv")
    assert ready["path"].to_list() == names
    assert np.abs(ready.select("ant", "bee", "cat").to_numpy() - reference["scores"].to_numpy()).max() < 1e-5


def test_what_was_done_before_a_break_is_not_done_again(desk, say, monkeypatch):
    monkeypatch.setattr("trapline.apps.predict_images.given.PIECE_IMAGES", 3)
    monkeypatch.setattr("trapline.stages.classify.PART_IMAGES", 1)
    say(*WITH, "--out", "whole.json", "whole.parquet", "--max-failures", 3)
    whole, calls = Deployed.__call__, []

    def breaks(self, pixels):
        calls.append(len(pixels))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return whole(self, pixels)

    monkeypatch.setattr(Deployed, "__call__", breaks)
    code, _ = say(*WITH, "--out", "out.json", "out.parquet", "--max-failures", 3)
    assert code == 130
    assert not (desk / "out.json").exists()
    code, _ = say(*WITH, "--out", "out.json", "out.parquet", "--max-failures", 3)
    assert code == 0
    assert calls == [2, 1, 1, 1]  # boxes of a.jpg, b.jpg; c.jpg twice
    assert pl.read_parquet("out.parquet").equals(pl.read_parquet("whole.parquet"))
    broken, unbroken = (json.loads((desk / name).read_text()) for name in ("out.json", "whole.json"))
    assert broken["images"] == unbroken["images"]


def test_the_fields_own_validator_passes_it(desk, say):
    content = json.loads((desk / "md.json").read_text())
    content["images"] = content["images"][:6]
    (desk / "md.json").write_text(json.dumps(content))
    say(*WITH, "--out", "out.json", "--max-failures", 1)
    say("--images", "images", "--out", "whole.json", "--max-failures", 1)
    code = (
        "import json, sys; from megadetector.postprocessing import validate_batch_results as module;"
        "print(json.dumps([module.validate_batch_results(path)['validation_results'] for path in sys.argv[1:]]))"
    )
    said = subprocess.run(
        [sys.executable, "-c", code, "out.json", "whole.json"], capture_output=True, text=True, check=True
    )
    given, whole = json.loads(said.stdout.splitlines()[-1])
    assert (given["errors"], given["warnings"]) == ([], ["Warning: non-standard key rest present at file level"])
    assert (whole["errors"], whole["warnings"]) == ([], [])
    assert whole["detection_category_id_to_count"] == {"1": 4}
    assert sum(whole["classification_category_id_to_count"].values()) >= 4


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--images", "images/cam 1"), "none of the 8 images of md.json is in images/cam 1 (first: a.jpg)"),
        (("--images", "."), "It is in images: give --images images."),
        (("--images", "nowhere"), "there is no folder nowhere"),
        (("--images", "images", "--categories", "cow"), "no category of the detections is named 'cow'. There are: a"),
        (("--images", "images", "--to", "md", "csv"), "--to is given 2 times and --out 1 times"),
        (("--images", "images", "--crops", "images"), "give one of them"),
        (("--images", "images", "--out", "x.doc"), "the ending of x.doc names no format"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said(desk, say, arguments, expected):
    code, text = say("--detections", "md.json", *arguments, *(() if "--out" in arguments else ("--out", "o.json")))
    assert code == 2
    assert expected in text
    assert not (desk / "o.json").exists()


def test_a_run_that_is_none(desk, say):
    for name, expected in (("nothing", "there is no run nothing"), ("images", "holds no checkpoints/best.pt"),
                           ("md.json", "is not a trapline checkpoint")):  # fmt: skip
        code, text = say(*WITH, "--out", "o.json", name=name)
        assert (code, expected in text) == (2, True)
    (desk / "bad.json").write_text('{"images": [{"file": 3}]}')
    code, text = say("--images", "images", "--detections", "bad.json", "--out", "o.json")
    assert (code, "bad.json is not a MegaDetector results file" in text) == (2, True)
    assert run_command(["predict", "--out", "x.json", "-p", str(desk)]) == 2
