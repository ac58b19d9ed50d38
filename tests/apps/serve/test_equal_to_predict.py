"""What is served is what `trapline predict` says of the same photographs and boxes."""

import io
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import polars as pl
import pytest
from PIL import Image

import training
from serving import Served
from trapline.apps.serve.opening import open_model
from trapline.cli import run_command
from trapline.core.calibration import Calibration
from trapline.core.log import Log
from trapline.formats import calibration_json

pytestmark = pytest.mark.usefixtures("one_core")
LABELS = ["ant", "bee", "cat"]
LEARNT = Calibration(
    LABELS, "vector", None, np.array([0.7, 1.2, 0.9]), np.array([0.3, -0.4, 0.1]), 1.3, 60, 4,
    {"raw": 1.0}, 0.9, {"ant": 0.5, "bee": None, "cat": 0.4}, {"bee": "never"},
)  # fmt: skip


def photograph(number: int) -> bytes:
    """Patches of the labels' colours; every third is stored turned, with the EXIF orientation that says so."""
    random = np.random.default_rng(number)
    colours = np.array(list(training.COLOURS.values())[:3])
    coarse = random.normal(0, 40, (12, 16, 3)) + colours[random.integers(0, 3, (12, 16))]
    image = Image.fromarray(coarse.clip(0, 255).astype(np.uint8)).resize((640, 480))
    buffer, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6 if number % 3 == 0 else 1
    image.save(buffer, "JPEG", quality=90, exif=exif)
    return buffer.getvalue()


def test_many_at_a_time_each_as_predict_has_it(tmp_path):
    training.run(tmp_path, *training.draw(tmp_path / "crops", each=6))
    training.soften(tmp_path / "run/checkpoints/best.pt", 0.3)
    calibration_json.write(tmp_path / "run/calibration.json", LEARNT)
    random = np.random.default_rng(0)
    frames, records = tmp_path / "frames", []
    frames.mkdir()
    for number in range(12):
        (frames / f"{number}.jpg").write_bytes(photograph(number))
        boxes = [[*random.uniform(0, 0.6, 2).round(4), *random.uniform(0.05, 0.5, 2).round(4)] for _ in range(3)]
        detections = [{"category": "1", "conf": 0.9, "bbox": [float(side) for side in box]} for box in boxes]
        records.append({"file": f"{number}.jpg", "detections": detections})
    content = {"info": {"format_version": "1.5"}, "detection_categories": {"1": "animal"}, "images": records}
    (tmp_path / "md.json").write_text(json.dumps(content))
    words = ["--run", str(tmp_path / "run"), "--images", str(frames), "--detections", str(tmp_path / "md.json")]
    out = tmp_path / "scores.parquet"
    assert run_command(["predict", *words, "-o", str(out), "--precision", "fp32", "--device", "cpu"]) == 0
    rows = pl.read_parquet(out).select("file", "detection", "scores")
    expected = {(file, detection): scores for file, detection, scores in rows.iter_rows()}
    assert len(expected) == 36

    model = open_model(None, str(tmp_path / "run"), project=tmp_path, log=Log())
    running = Served(model, batch_size=5)

    def ask(record):
        boxes = [detection["bbox"] for detection in record["detections"]]
        return running.predict((frames / record["file"]).read_bytes(), *boxes).json()["boxes"]

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(ask, records))
    spread = []
    for record, boxes in zip(records, answers, strict=True):
        for number, box in enumerate(boxes):
            wanted = np.array(expected[record["file"], number])
            found = np.array([box["scores"][label] for label in LABELS])
            assert np.abs(found - wanted).max() < 1e-4
            spread.append(wanted)
            sure = {0: 0.5, 2: 0.4}.get(int(wanted.argmax()), 2) <= wanted.max()
            assert box["answer"] == (LABELS[wanted.argmax()] if sure else None)
    assert np.std(spread) > 0.05
    running.close()
