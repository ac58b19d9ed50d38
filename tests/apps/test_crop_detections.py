import json

import numpy as np
import pytest
from PIL import Image

from drawing import draw, is_all
from trapline.cli import run_command

NAME = "200x150_red_40x30_at_20_60_blue_20x50_at_100_10.png"


@pytest.fixture
def found(tmp_path):
    """A results file over a folder of one good image and some that are none; the arguments that crop it."""
    images = tmp_path / "images"
    draw(images, f"cam 1/{NAME}").rename(images / "cam 1" / "a.png")
    (images / "text.jpg").write_text("no image")
    red, blue = [0.1, 0.4, 0.2, 0.2], [0.5, 1 / 15, 0.1, 1 / 3]
    records = [
        {"file": "cam 1/a.png", "detections": [
            {"category": "2", "conf": 0.9, "bbox": blue},
            {"category": "1", "conf": 0.05, "bbox": blue},
            {"category": "1", "conf": 0.8, "bbox": red, "classifications": [["0", 0.5], ["1", 0.5]]},
        ]},
        {"file": "text.jpg", "detections": [{"category": "1", "conf": 0.9, "bbox": red}]},
        {"file": "../away.jpg", "detections": [{"category": "1", "conf": 0.9, "bbox": red}]},
        {"file": "none.jpg", "detections": []},
        {"file": "failed.jpg", "detections": None, "failure": "Failure image access"},
    ]  # fmt: skip
    content = {
        "info": {"format_version": "1.4", "detector": "md_v5a.0.0.pt"},
        "detection_categories": {"1": "animal", "2": "person"},
        "classification_categories": {"0": "fox", "1": "dog"},
        "images": records,
    }
    (tmp_path / "md.json").write_text(json.dumps(content))
    return ["crop", "--detections", tmp_path / "md.json", "--images", images, "--out", tmp_path / "out"]


def say(capsys, *arguments):
    code = run_command([str(word) for word in arguments])
    captured = capsys.readouterr()
    return code, captured.out + captured.err


def crops(tmp_path):
    out = tmp_path / "out"
    return sorted(path.relative_to(out).as_posix() for path in out.rglob("*.jpg"))


def test_crops_without_a_project(tmp_path, found, capsys):
    code, text = say(capsys, *found, "--style", "tight", "--max-size", 0, "--quality", 100)
    assert code == 3
    assert "5 detections -> 4 boxes; left out 1 below confidence 0.2" in text
    assert "2 images failed, and the detector failed on 1" in text
    assert crops(tmp_path) == ["cam 1/a.png___crop00_mdv5a.0.jpg", "cam 1/a.png___crop02_mdv5a.0.jpg"]
    for name, colour, size in zip(crops(tmp_path), ("blue", "red"), ((20, 50), (40, 30)), strict=True):
        with Image.open(tmp_path / "out" / name) as image:
            assert image.size == size
            assert is_all(image, colour, 3)
    assert (tmp_path / "out" / "failures.csv").read_text().splitlines() == [
        "file,failure",
        "../away.jpg,file name climbs out of its folder",
        "failed.jpg,detector: Failure image access",
        "text.jpg,not an image",
    ]
    assert not (tmp_path / "away.jpg___crop00_mdv5a.0.jpg").exists()


def test_filters(tmp_path, found, capsys):
    code, _ = say(capsys, *found, "--threshold", 0, "--categories", "animal", "--max-failures", 2)
    assert code == 0
    assert crops(tmp_path) == ["cam 1/a.png___crop01_mdv5a.0.jpg", "cam 1/a.png___crop02_mdv5a.0.jpg"]
    code, text = say(capsys, *found, "--categories", "cow")
    assert (code, "no detection is of category 'cow'. There are: animal, person." in text) == (2, True)


def test_again_makes_only_what_is_missing_or_damaged(tmp_path, found, capsys):
    say(capsys, *found)
    first, second = (tmp_path / "out" / name for name in crops(tmp_path))
    before, stamp = second.read_bytes(), first.stat().st_mtime_ns
    say(capsys, *found)
    assert first.stat().st_mtime_ns == stamp
    second.write_bytes(before[:-9])
    say(capsys, *found)
    assert second.read_bytes() != before
    _, text = say(capsys, *found, "--check")
    assert "2 crops checked: 1 are damaged or gone" in text
    assert second.read_bytes() == before
    say(capsys, *found, "--style", "pad")
    with Image.open(first) as image:
        assert image.size == (50, 50)
        assert np.asarray(image)[:, :5].max() < 30  # padded with black, not what was there before


def test_what_is_missing_is_said(tmp_path, found, capsys):
    assert say(capsys, *found[:3])[0] == 2
    code, text = say(capsys, "crop", "--threshold", 0.5, "--project", tmp_path)
    assert (code, "--threshold: only together with --detections" in text) == (2, True)
    code, text = say(capsys, *found[:3], "--images", tmp_path / "nope", "--out", tmp_path / "out")
    assert (code, "there is no folder" in text) == (2, True)
