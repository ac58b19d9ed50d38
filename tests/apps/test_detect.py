"""trapline detect, with a stand-in for MegaDetector: what it is asked, and what is said of how it ends."""

import json

import pytest
from PIL import Image

from trapline.cli import run_command

STAND_IN = """
import json, os, sys
arguments = sys.argv[1:]
if __name__ == "__main__":
    model, folder, out = arguments[:3]
    json.dump(arguments, open("asked.json", "w"))
    checkpoint = arguments[arguments.index("--checkpoint_path") + 1]
    if model == "breaks":
        open(checkpoint, "w").write("{}")
        sys.exit("weights are gone")
    images = [{"file": "a/1.jpg", "detections": [{"category": "1", "conf": 0.9, "bbox": [0, 0, 1, 1]}]},
              {"file": "a/2.jpg", "detections": []}, {"file": "3.jpg", "detections": None, "failure": "bad"}]
    content = {"info": {}, "detection_categories": {"1": "animal"}, "images": images}
    json.dump(content, open(out, "w"))
"""


@pytest.fixture
def say(tmp_path, monkeypatch, capsys):
    (tmp_path / "images/a").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "images/a/1.jpg")
    package = tmp_path / "packages/megadetector/detection"
    package.mkdir(parents=True)
    for folder in (package.parent, package):
        (folder / "__init__.py").touch()
    (package / "run_detector_batch.py").write_text(STAND_IN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "packages"))
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        code = run_command(["detect", "--images", "images", "--out", "md.json", *arguments])
        return code, " ".join("".join(capsys.readouterr()).split())

    return call


def test_it_is_run_with_names_below_the_folder_and_goes_on_after_a_break(say, tmp_path):
    code, text = say("--model", "breaks")
    assert code == 1
    assert "MegaDetector ended with exit code 1; what it said is above. The same command goes on from" in text
    code, text = say("--threshold", "0.1")
    assert code == 0
    assert "3 images -> 1 with a detection; left out 1 without, 1 that could not be read" in text
    asked = json.loads((tmp_path / "asked.json").read_text())
    assert asked[:5] == ["MDV5A", "images", "md.json", "--recursive", "--output_relative_filenames"]
    assert asked[-4:] == ["--threshold", "0.1", "--resume_from_checkpoint", "md.json.checkpoint.json"]
    assert not (tmp_path / "md.json.checkpoint.json").exists()


def test_where_it_is_not_installed_that_is_said_with_what_to_do(say, tmp_path):
    (tmp_path / "packages/megadetector/detection/run_detector_batch.py").write_text("import no_such_module")
    code, text = say()
    assert code == 2
    assert "MegaDetector is not installed for" in text
    assert "No module named 'no_such_module'" in text
    assert "pip install megadetector" in text
    code, text = say("--python", "nowhere/python")
    assert (code, "nowhere/python cannot be run (No such file or directory)" in text) == (2, True)
