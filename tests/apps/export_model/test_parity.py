"""Every export answers as the run does, from a photograph's bytes and a box to calibrated probabilities."""

import base64
import io
import json
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

import training
from trapline.apps.serve.answering import open_artifact
from trapline.cli import run_command
from trapline.core import calibration
from trapline.core.calibration import Calibration
from trapline.core.config import PredictConfig
from trapline.core.geometry import GivenBox
from trapline.core.log import Log
from trapline.formats import calibration_json
from trapline.io.crops import write_jpeg
from trapline.io.ledger import Parts
from trapline.io.places import Folder
from trapline.learn import checkpoint
from trapline.stages.predict import predict

pytestmark = pytest.mark.usefixtures("one_core")
REAL = Path(__file__).parents[4] / "shared/data/burrowing_owl"
TOLERANCE = 1e-4
SIDES = [(10, 20, 100), (150, 60, 80), (0, 0, 200), (37, 11, 63)]  # left, top and side in pixels: square boxes
LEARNT = Calibration(
    ["ant", "bee", "cat"], "vector", None, np.array([0.7, 1.2, 0.9]), np.array([0.3, -0.4, 0.1]), 1.3, 60, 4,
    {"raw": 1.0}, 0.9, {"ant": 0.8, "bee": None, "cat": 0.6}, {"bee": "never"},
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory, one_core):
    """A run that is unsure enough for its probabilities to be compared, and calibrated."""
    folder = tmp_path_factory.mktemp("run")
    training.run(folder, *training.draw(folder / "crops", each=6))
    path = folder / "run/checkpoints/best.pt"
    known = checkpoint.load(path)
    head = {name: 0.3 * values for name, values in known.weights.items() if name.startswith("classifier.")}
    checkpoint.save(path, replace(known, weights={**known.weights, **head}))
    calibration_json.write(folder / "run/calibration.json", LEARNT)
    return folder / "run"


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    assert run_command(["export", "--run", str(run), "--to", "all", "-o", str(folder)]) == 0
    return folder


def drawn() -> list[bytes]:
    found = []
    for number, colour in enumerate(training.COLOURS.values()):
        random = np.random.default_rng(number)
        coarse = (random.normal(0, 50, (11, 15, 3)) + colour).clip(0, 255).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(coarse).resize((300, 220)).save(buffer, "JPEG", quality=90)
        found.append(buffer.getvalue())
    return found


def photographs() -> list[bytes]:
    if not REAL.is_dir():
        pytest.skip(f"REAL PHOTOGRAPHS ARE NOT CHECKED: {REAL} is absent")
    return [path.read_bytes() for path in sorted(REAL.glob("*.JPG"))[:4]]


def reference(run, pictures: list[bytes], folder: Path) -> np.ndarray:
    """As the run has it: crops cut by Pillow, stored as files, scored by the checkpoint, calibrated."""
    names = []
    for number, data in enumerate(pictures):
        with Image.open(io.BytesIO(data)) as image:
            for left, top, side in SIDES:
                names.append(f"{number}_{left}.jpg")
                write_jpeg(
                    image.convert("RGB").crop((left, top, left + side, top + side)), Folder(folder), names[-1], 92
                )
    table = predict(
        run / "checkpoints/best.pt", pl.DataFrame({"crop_id": names}), PredictConfig(device="cpu"), crops_dir=folder,
        parts=Parts(folder / "parts"), log=Log(),
    )  # fmt: skip
    return calibration.apply(LEARNT, table["scores"].to_numpy())


def boxes_of(data: bytes) -> list[list[float]]:
    """The same boxes as Animl gives them."""
    with Image.open(io.BytesIO(data)) as image:
        width, height = image.size
    return [[top / height, left / width, (top + side) / height, (left + side) / width] for left, top, side in SIDES]


@pytest.mark.parametrize("name", ["model.onnx", "model.pt"])
@pytest.mark.parametrize("source", [drawn, photographs])
def test_a_file_answers_as_the_run_does(run, exported, tmp_path, source, name):
    pictures = source()
    expected = reference(run, pictures, tmp_path)
    assert expected.max() < 0.999
    assert expected.std() > 0.01
    model = open_artifact(exported / name)
    asked = []
    for data in pictures:
        boxes = [GivenBox(x0, y0, x1 - x0, y1 - y0, "fraction", "displayed") for y0, x0, y1, x1 in boxes_of(data)]
        asked.append((data, boxes))
    together = np.array([row for rows in model.scores(asked) for row in rows])
    alone = np.array([model.scores([(data, [box])])[0][0] for data, boxes in asked for box in boxes])
    assert np.abs(together - expected).max() < TOLERANCE
    assert np.abs(alone - expected).max() < TOLERANCE


def test_the_description_is_inside(exported):
    for name in ("model.onnx", "model.pt"):
        told = open_artifact(exported / name).artifact
        assert told.labels == ("ant", "bee", "cat")
        assert told.thresholds == {"ant": 0.8, "bee": None, "cat": 0.6}
        assert told.calibration.temperature == 1.3
        assert (told.crops.style, told.crops.max_size, told.crops.quality) == ("square", 512, 92)
    assert json.loads((exported / "index_to_name.json").read_text()) == {"0": "ant", "1": "bee", "2": "cat"}


def test_timm_opens_its_folder(run, exported):
    import timm
    import torch

    network = timm.create_model(f"local-dir:{exported / 'timm'}", pretrained=True).eval()
    images = torch.rand(3, 3, 32, 32)
    expected = checkpoint.load(run / "checkpoints/best.pt").network()
    with torch.no_grad():
        assert torch.allclose(network(images), expected(images), atol=TOLERANCE)


SERVED = """
import json, sys
folder, requests = sys.argv[1:]
sys.path.insert(0, folder)
import trapline, handler
assert trapline.__file__.startswith(folder), trapline.__file__
class Context:
    system_properties = {"model_dir": folder, "gpu_id": None}
    manifest = json.load(open(folder + "/MAR-INF/MANIFEST.json"))
    statuses = {}
    def set_response_status(self, code, phrase="", idx=0):
        self.statuses[idx] = code
context = Context()
assert handler.handle(None, context) is None
answers = handler.handle(json.load(open(requests)), context)
loaded = {name: module.__file__ for name, module in sys.modules.items() if name.startswith("trapline")}
outside = [name for name, path in loaded.items() if not path.startswith(folder)]
assert not outside, outside
print(json.dumps([answers, context.statuses]))
"""


def test_the_archive_answers_animl_with_nothing_of_trapline_but_its_own(run, exported, tmp_path):
    (archive,) = exported.glob("*.mar")
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(tmp_path / "model")
    pictures = drawn()[:2]
    expected = reference(run, pictures, tmp_path / "crops")
    rows, image = [], ""
    for data in pictures:
        image = base64.b64encode(data).decode()
        for number, box in enumerate(boxes_of(data)):
            rows.append({"body": {"image": image, "bbox": str(box) if number % 2 else box}})
    bad = [{"body": {"image": "?", "bbox": None}}, {"data": json.dumps({"image": image, "bbox": [2, 2, 3, 3]})}]
    (tmp_path / "requests.json").write_text(json.dumps([bad[0], *rows, bad[1]]))
    command = [sys.executable, "-c", SERVED, str(tmp_path / "model"), str(tmp_path / "requests.json")]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    answers, statuses = json.loads(result.stdout.splitlines()[-1])
    assert statuses == {"0": 400, str(len(rows) + 1): 400}
    assert "base64" in answers[0]["error"]
    assert "outside" in answers[-1]["error"]
    found = np.array([[answer[label] for label in ("ant", "bee", "cat")] for answer in answers[1:-1]])
    assert np.abs(found - expected).max() < TOLERANCE
