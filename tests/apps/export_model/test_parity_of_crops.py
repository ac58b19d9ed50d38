"""Exports answer as the run does whatever its crops are: not square, padded, reduced, of several labels.

The reference is what a person would do: `trapline crop --detections` makes files of crops, predict scores them.
"""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

import training
from trapline.apps.serve.answering import open_artifact
from trapline.cli import run_command
from trapline.core.config import PredictConfig
from trapline.core.geometry import GivenBox
from trapline.core.log import Log
from trapline.io.ledger import Parts
from trapline.learn import checkpoint
from trapline.stages.predict import predict

pytestmark = pytest.mark.usefixtures("one_core")
DATA = Path(__file__).parents[4] / "shared/data"
TOLERANCE = 1e-4
BOXES = [  # x y w h: of any shape and size, at edges and beyond; large ones are reduced as they are decoded
    [0.1, 0.05, 0.6, 0.85],
    [0.5, 0.4, 0.05, 0.11],
    [0.0, 0.3, 0.31, 0.07],
    [0.87, 0.02, 0.13, 0.9],
    [0.02, 0.6, 0.95, 0.39],
    [0.7, 0.7, 0.4, 0.4],
]
CASES = {  # several labels?, and how crops are cut
    "square": (False, {"style": "square", "max_size": 0}),
    "square 96": (False, {"style": "square", "max_size": 96}),
    "tight 128": (False, {"style": "tight", "max_size": 128}),
    "pad 64": (False, {"style": "pad", "max_size": 64, "quality": 97}),
    "tight 96, several labels": (True, {"style": "tight", "max_size": 96}),
}


@pytest.fixture(scope="module")
def known(request, tmp_path_factory):
    """A checkpoint that is unsure enough for its probabilities to be compared."""
    folder = tmp_path_factory.mktemp("run")
    examples, splits = training.draw(folder / "crops")
    if request.param:
        both = pl.col("crop_id").str.contains("ant_1")
        examples = examples.with_columns(labels=pl.when(both).then(pl.lit(["ant", "cat"])).otherwise("labels"))
    training.run(folder, examples, splits, multilabel=request.param)
    path = folder / "run/checkpoints/best.pt"
    training.soften(path, 0.3)
    found = checkpoint.load(path)
    assert found.multilabel == request.param
    return found


def drawn() -> dict[str, bytes]:
    found = {}
    for number, colour in enumerate(training.COLOURS.values()):
        random = np.random.default_rng(number)
        coarse = (random.normal(0, 50, (18, 24, 3)) + colour).clip(0, 255).astype(np.uint8)
        buffer = io.BytesIO()
        turned = Image.Exif()
        turned[0x0112] = (1, 6, 1, 3)[number]
        Image.fromarray(coarse).resize((960, 720)).save(buffer, "JPEG", quality=90, exif=turned)
        found[f"{number}.jpg"] = buffer.getvalue()
    return found


def photographs() -> dict[str, bytes]:
    paths = [*sorted((DATA / "burrowing_owl").glob("*.JPG"))[:3], *sorted((DATA / "jaguar").glob("*.jpg"))[:2]]
    if len(paths) < 5:
        pytest.skip(f"REAL PHOTOGRAPHS ARE NOT CHECKED: {DATA} has not all of burrowing_owl and jaguar")
    return {f"{number}.jpg": path.read_bytes() for number, path in enumerate(paths)}


def reference(best: Path, pictures: dict[str, bytes], crops: dict, folder: Path) -> np.ndarray:
    """As the run has it: files of crops, scored by its checkpoint."""
    records = []
    (folder / "images").mkdir()
    for name, data in pictures.items():
        (folder / "images" / name).write_bytes(data)
        detections = [{"category": "1", "conf": 0.9, "bbox": box} for box in BOXES]
        records.append({"file": name, "detections": detections})
    results = {"info": {"format_version": "1.4"}, "detection_categories": {"1": "animal"}, "images": records}
    (folder / "md.json").write_text(json.dumps(results))
    options = [word for name, value in crops.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    command = ["crop", "--detections", "md.json", "--images", "images", "--out", "crops", *options]
    assert (
        run_command([str(folder / word) if word in ("md.json", "images", "crops") else word for word in command]) == 0
    )
    names = sorted(path.relative_to(folder / "crops").as_posix() for path in (folder / "crops").rglob("*.jpg"))
    assert len(names) == len(pictures) * len(BOXES)
    table = predict(
        best, pl.DataFrame({"crop_id": names}), PredictConfig(device="cpu"), crops_dir=folder / "crops",
        parts=Parts(folder / "parts"), log=Log(),
    )  # fmt: skip
    return table["scores"].to_numpy()


@pytest.mark.parametrize(("known", "crops"), CASES.values(), ids=CASES, indirect=["known"])
@pytest.mark.parametrize("source", [drawn, pytest.param(photographs, marks=pytest.mark.slow)])
def test_a_file_answers_as_the_run_does(known, crops, source, tmp_path, capsys):
    pictures = source()
    best = tmp_path / "best.pt"
    checkpoint.save(best, replace(known, trained={**known.trained, "crops": crops}))
    expected = reference(best, pictures, crops, tmp_path)
    assert expected.std() > 0.01
    assert not known.multilabel or abs(expected.sum(1) - 1).max() > 0.1
    assert run_command(["export", "--run", str(best), "--to", "onnx", "-o", str(tmp_path / "out")]) == 0
    model = open_artifact(tmp_path / "out/model.onnx")
    assert model.artifact.multilabel == known.multilabel
    boxes = [GivenBox(*box, unit="fraction", frame="displayed") for box in BOXES]
    together = np.array([row for rows in model.scores([(data, boxes) for data in pictures.values()]) for row in rows])
    alone = np.array([model.scores([(data, [box])])[0][0] for data in pictures.values() for box in boxes])
    assert np.abs(together - expected).max() < TOLERANCE
    assert np.abs(alone - expected).max() < TOLERANCE
