"""New images at length: killed in the middle, from a store, and through MegaDetector's own tools."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

import training
from trapline.cli import run_command

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_core")]
IMAGES = 600


@pytest.fixture(scope="module")
def desk(tmp_path_factory, one_core):
    """A run, many small images of 20 pictures, and a detector's results of them."""
    folder = tmp_path_factory.mktemp("desk")
    training.run(folder, *training.draw(folder / "crops"), epochs=1)
    noise = np.random.default_rng(0)
    for n in range(20):
        Image.fromarray(noise.integers(0, 255, (60, 80, 3), dtype=np.uint8)).save(folder / f"{n}.jpg")
    records = []
    for n in range(IMAGES):
        path = folder / f"images/c{n % 5}/{n}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.hardlink_to(folder / f"{n % 20}.jpg")
        box = {"category": "1", "conf": 0.5, "bbox": [0.1, 0.1, 0.5, 0.7]}
        records.append({"file": f"c{n % 5}/{n}.jpg", "detections": [box] * (n % 3)})
    content = {
        "info": {"format_version": "1.5", "detector": "md_v5a.0.0.pt"},
        "detection_categories": {"1": "animal"},
        "images": records,
    }
    (folder / "md.json").write_text(json.dumps(content))
    return folder


def started(desk: Path, out: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "trapline", "predict", "--run", "run", "--images", "images", "--detections",
               "md.json", "--out", f"{out}.json", f"{out}.parquet"]  # fmt: skip
    return subprocess.Popen(command, cwd=desk, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def test_killed_it_goes_on_and_ends_with_the_same(desk):
    _, errors = (whole := started(desk, "whole")).communicate(timeout=300)
    assert whole.returncode == 0, errors.decode()
    process = started(desk, "broken")
    while process.poll() is None and not list((desk / "broken.json.parts").glob("*/part-*")):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (desk / "broken.json").exists()
    _, errors = (last := started(desk, "broken")).communicate(timeout=300)
    assert last.returncode == 0, errors.decode()
    assert pl.read_parquet(desk / "broken.parquet").equals(pl.read_parquet(desk / "whole.parquet"))
    images = [json.loads((desk / f"{name}.json").read_text())["images"] for name in ("broken", "whole")]
    assert images[0] == images[1]
    assert len(images[0]) == IMAGES


TOOLS = """
import sys, types
sys.modules["humanfriendly"] = types.ModuleType("humanfriendly")  # words for times; of its detector's dependencies
from megadetector.postprocessing import classification_postprocessing
from megadetector.postprocessing.generate_csv_report import generate_csv_report
from megadetector.postprocessing.subset_json_detector_output import (
    SubsetJsonDetectorOutputOptions, subset_json_detector_output)
options = SubsetJsonDetectorOutputOptions()
options.query, options.replacement = "c1/", "x/"
subset_json_detector_output("./out.json", "./subset.json", options)
classification_postprocessing.smooth_classification_results_image_level("./subset.json", "./smooth.json")
generate_csv_report("./smooth.json", "./report.csv")
"""


def test_it_survives_megadetectors_own_tools(desk, monkeypatch):
    monkeypatch.chdir(desk)
    assert (
        run_command(["predict", "--run", "run", "--images", "images", "--detections", "md.json", "--out", "out.json"])
        == 0
    )
    done = subprocess.run([sys.executable, "-c", TOOLS], cwd=desk, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = pl.read_csv("report.csv")
    with_boxes = [n for n in range(1, IMAGES, 5) if n % 3]
    assert report["filename"].n_unique() == IMAGES // 5
    classified = report.filter(pl.col("classification_category").is_in(["ant", "bee", "cat"]))
    assert sorted(classified["filename"].unique()) == sorted(f"x/{n}.jpg" for n in with_boxes)


def test_images_in_a_store(desk, moto, monkeypatch, capsys):
    import boto3

    for name, value in (("ACCESS_KEY_ID", "a"), ("SECRET_ACCESS_KEY", "b"), ("REGION", "us-east-1")):
        monkeypatch.setenv(f"AWS_{name}", value)
    store = boto3.client("s3", endpoint_url=moto, region_name="us-east-1")
    store.create_bucket(Bucket="cams")
    content = json.loads((desk / "md.json").read_text())
    content["images"] = content["images"][:30]
    for image in content["images"][:29]:
        store.upload_file(str(desk / "images" / image["file"]), "cams", f"trap/{image['file']}")
    monkeypatch.chdir(desk)
    Path("some.json").write_text(json.dumps(content))
    common = ["predict", "--run", "run", "--detections", "some.json", "--to", "parquet", "--max-failures", "1"]
    assert run_command([*common, "--images", "images", "--out", "here"]) == 0
    assert run_command([*common, "--images", "s3://cams/trap", "--endpoint", moto, "--out", "there"]) == 0
    assert "1 images: missing (404) (first: c4/29.jpg)" in " ".join("".join(capsys.readouterr()).split())
    here, there = (pl.read_parquet(name).filter(pl.col("file") != "c4/29.jpg") for name in ("here", "there"))
    assert here.equals(there)
