"""trapline export --quantize int8: what it writes, and that what it says of itself is so."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import polars as pl
import pytest
from onnx import numpy_helper
from PIL import Image
from sklearn.metrics import balanced_accuracy_score, recall_score

import training
from trapline.apps.export_model import quantizing
from trapline.apps.serve.answering import open_artifact
from trapline.cli import run_command
from trapline.core.log import Log
from trapline.formats.artifact import Compared

pytestmark = pytest.mark.usefixtures("one_core")
LABELS = ("ant", "bee", "cat")
RUN = "001-test_efficientnet"


def trained(folder: Path, *more: str) -> Path:
    """A project of ready-made crops, trained."""
    random = np.random.default_rng(0)
    for place in range(8):
        for label in LABELS:
            (folder / f"crops/p{place}/{label}").mkdir(parents=True)
            for n in range(4):
                pixels = random.normal(0, 60, (40, 40, 3)) + training.COLOURS[label]
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"crops/p{place}/{label}/{n}.png")
    for command in (
        ["init", "p", "--images", "crops", "--folders", "location/label", "--ready-made"],
        ["train", "-p", "p", "--model", "test_efficientnet", "--no-pretrained", "--image-size", "32", "--epochs", "3",
         "--batch-size", "16", "--lr", "0.01", "--freeze", "0", "--device", "cpu", *more],
    ):  # fmt: skip
        with pytest.MonkeyPatch.context() as patched:
            patched.chdir(folder)
            assert run_command(command) == 0
    training.soften(folder / "p/runs" / RUN / "checkpoints/best.pt", 0.3)
    return folder / "p"


@pytest.fixture(scope="module")
def root(tmp_path_factory, one_core):
    return trained(tmp_path_factory.mktemp("project"))


def export(root: Path, out: Path, *more: str) -> int:
    return run_command(["export", "--to", "onnx", "--quantize", "int8", "-p", str(root), "-o", str(out), *more])


def answers(path: Path, crops: list[Path]) -> np.ndarray:
    """By ONNX Runtime alone; crops are made for the model's 32 pixels by Pillow alone."""
    pixels = []
    for crop in crops:
        with Image.open(crop) as image:
            pixels.append(np.asarray(image.convert("RGB").resize((32, 32), Image.Resampling.BICUBIC)))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"crops": np.stack(pixels)})[0])


def of_split(root: Path, split: str) -> tuple[list[Path], list[int]]:
    examples, splits = (pl.read_parquet(root / f"tables/{name}.parquet") for name in ("examples", "splits"))
    rows = examples.join(splits, on="group_id").filter(pl.col("split") == split)
    return [root / "crops" / name for name in rows["crop_id"]], [LABELS.index(names[0]) for names in rows["labels"]]


def test_what_it_costs_is_measured_said_and_kept(root, tmp_path, capsys):
    assert export(root, tmp_path) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert open_artifact(tmp_path / "model.onnx").artifact.quantized is None
    kept = open_artifact(tmp_path / "model.int8.onnx").artifact.quantized
    assert kept is not None
    assert [figures.split for figures in kept.compared] == ["val", "test"]
    for figures in kept.compared:
        crops, truth = of_split(root, figures.split)
        before, after = (answers(tmp_path / name, crops) for name in ("model.onnx", "model.int8.onnx"))
        assert figures.crops == len(crops) > 0
        assert figures.macro_recall == pytest.approx(balanced_accuracy_score(truth, after.argmax(1)))
        assert figures.macro_recall_before == pytest.approx(balanced_accuracy_score(truth, before.argmax(1)))
        assert figures.equal_answers == pytest.approx((before.argmax(1) == after.argmax(1)).mean())
        assert figures.largest_difference == pytest.approx(np.abs(before - after).max(), abs=1e-5)
        assert 1e-5 < figures.largest_difference < 1
        assert f"int8 on {figures.crops} {figures.split} crops: macro recall {figures.macro_recall:.3f}" in said
    assert "of the size" in said
    assert "times as fast on this machine" in said


def test_where_crops_may_have_several_labels(tmp_path, capsys):
    root = trained(tmp_path, "--multilabel")
    assert export(root, tmp_path / "out") == 0
    kept = open_artifact(tmp_path / "out/model.int8.onnx").artifact.quantized
    assert kept is not None
    crops, truth = of_split(root, "val")
    before, after = (answers(tmp_path / "out" / name, crops) for name in ("model.onnx", "model.int8.onnx"))
    assert abs(after.sum(1) - 1).max() > 0.01
    said = after >= 0.5
    there = np.eye(3, dtype=bool)[truth]
    assert kept.compared[0].macro_recall == pytest.approx(recall_score(there, said, average="macro"))
    assert kept.compared[0].equal_answers == pytest.approx(((before >= 0.5) == said).all(1).mean())
    assert kept.compared[0].largest_difference == pytest.approx(np.abs(before - after).max(), abs=1e-5)


def test_its_layers_are_integers_by_channel_and_its_calibration_is_not(root, tmp_path):
    assert export(root, tmp_path) == 0
    graph = onnx.load(tmp_path / "model.int8.onnx").graph
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    made = {node.output[0]: node for node in graph.node}
    layers = [node for node in graph.node if node.op_type == "Conv"]
    assert layers
    for layer in layers:
        weight, scale = made[layer.input[1]].input[:2]
        assert values[weight].dtype == np.int8
        assert values[scale].shape == (len(values[weight]),)
    after = {
        node.op_type for node in graph.node if not node.name.startswith("/network/") and "Linear" not in node.op_type
    }
    assert {"Softmax", "Sub", "Div"} <= after


def test_val_and_test_crops_do_not_take_part(root, tmp_path, capsys):
    assert export(root, tmp_path / "one") == 0
    kept = {}
    for split in ("val", "test"):
        for path in of_split(root, split)[0]:
            kept[path] = path.read_bytes()
            path.unlink()
    try:
        assert export(root, tmp_path / "two") == 0
    finally:
        for path, data in kept.items():
            path.write_bytes(data)
    assert "what int8 costs is not known" in capsys.readouterr().out
    one, two = (onnx.load(tmp_path / name / "model.int8.onnx").graph for name in ("one", "two"))
    values = [{tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer} for graph in (one, two)]
    assert values[0].keys() == values[1].keys()
    for name, found in values[0].items():
        np.testing.assert_allclose(found, values[1][name], rtol=1e-5, err_msg=name)


def test_where_it_cannot_be(root, tmp_path, capsys):
    best = tmp_path / "best.pt"
    best.write_bytes((root / "runs" / RUN / "checkpoints/best.pt").read_bytes())
    assert export(root, tmp_path / "out", "--run", str(best)) == 2
    assert "its ranges from the run's own training crops" in capsys.readouterr().err
    command = ["export", "--to", "torchscript", "--quantize", "int8", "-p", str(root), "-o", str(tmp_path / "out")]
    assert run_command(command) == 2
    assert "only ONNX files are quantised" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("recall", "equal", "loud"), [(0.79, 0.96, False), (0.77, 0.96, True), (0.8, 0.94, True), (None, 0.96, False)]
)
def test_much_is_said_loudly(recall, equal, loud):
    log = Log()
    quantizing.say(Compared("val", 90, recall, None if recall is None else 0.8, equal, 0.2), log)
    assert len(log.warnings) == loud
    assert ("deploy model.onnx" in "".join(log.warnings)) == loud
