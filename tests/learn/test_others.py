import warnings

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from PIL import Image
from torch import nn

from trapline.core.errors import InputError
from trapline.learn.infer import infer
from trapline.learn.others import IMAGENET_MEAN, IMAGENET_STD, OtherClassifier
from trapline.learn.transforms import Transform

LABELS = ("red", "green", "blue")
TRANSFORM = Transform(32, IMAGENET_MEAN, IMAGENET_STD)
WEIGHT = 3 * np.eye(3, dtype=np.float32)


class Colours(nn.Module):
    """The mean of each channel, three times: the reddest picture is red."""

    def __init__(self, *, soft=False, several=False):
        super().__init__()
        self.soft, self.several = soft, several

    def forward(self, x):
        logits = 3 * x.mean((2, 3))
        out = logits.softmax(1) if self.soft else logits
        return (out, x) if self.several else out


def torchscript(path, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(Colours(**options), torch.zeros(1, 3, 32, 32)), str(path))
    return path


def onnx_file(path, batch: str | int = "n"):
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["x"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weight"], ["y"]),
        ],
        "colours",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, 32, 32])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 3])],
        [helper.make_tensor("weight", TensorProto.FLOAT, [3, 3], WEIGHT.ravel())],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.save(model, str(path))
    return path


@pytest.fixture
def pictures(tmp_path):
    paths = []
    for n, colour in enumerate([(200, 30, 30), (30, 200, 30), (30, 30, 200), (120, 90, 60), (10, 10, 10)]):
        Image.new("RGB", (40, 40), colour).save(tmp_path / f"{n}.png")
        paths.append(tmp_path / f"{n}.png")
    return paths


def expected(paths):
    """softmax(3 * normalised mean colour), by hand."""
    pixels = np.array([np.asarray(Image.open(path)).reshape(-1, 3).mean(0) / 255 for path in paths])
    logits = 3 * (pixels - IMAGENET_MEAN) / IMAGENET_STD
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


@pytest.mark.parametrize("kind", ["logits", "probabilities", "several outputs", "onnx", "onnx of batches of two"])
def test_scores_are_the_classifiers_own(tmp_path, pictures, kind):
    if kind.startswith("onnx"):
        path = onnx_file(tmp_path / "m.onnx", 2 if "two" in kind else "n")
    else:
        path = torchscript(tmp_path / "m.pt", soft=kind == "probabilities", several=kind == "several outputs")
    other = OtherClassifier(path, LABELS, TRANSFORM, kind == "probabilities")
    cpu = torch.device("cpu")
    found, failures = infer(other.network(), other.transform, pictures, "scores", batch_size=3, device=cpu)
    assert failures == [None] * 5
    np.testing.assert_allclose(found, expected(pictures), atol=1e-5)


def test_a_label_list_of_another_length_is_refused(tmp_path):
    other = OtherClassifier(torchscript(tmp_path / "m.pt"), LABELS[:2], TRANSFORM)
    with pytest.raises(InputError, match="gives 3 outputs, but 2 labels are listed"):
        other.network()


def test_probabilities_are_not_softened_twice_nor_taken_for_what_they_are_not(tmp_path):
    with pytest.raises(InputError, match=r"sum to 1: they are probabilities already.*--probabilities"):
        OtherClassifier(torchscript(tmp_path / "s.pt", soft=True), LABELS, TRANSFORM).network()
    with pytest.raises(InputError, match=r"do not sum to 1 .*Leave out --probabilities"):
        OtherClassifier(torchscript(tmp_path / "m.pt"), LABELS, TRANSFORM, True).network()


def test_another_size_is_told(tmp_path):
    path = onnx_file(tmp_path / "m.onnx")
    with pytest.raises(InputError, match=r"does not take a picture of 48 x 48 pixels.*--image-size"):
        OtherClassifier(path, LABELS, Transform(48)).network()


@pytest.mark.parametrize("name", ["m.pt", "m.onnx"])
def test_other_files_are_refused(tmp_path, name):
    with pytest.raises(InputError, match="there is no classifier"):
        OtherClassifier(tmp_path / name, LABELS, TRANSFORM).network()
    (tmp_path / name).write_bytes(b"rubbish")
    with pytest.raises(InputError, match=r"is not a TorchScript file|is not an ONNX file"):
        OtherClassifier(tmp_path / name, LABELS, TRANSFORM).network()


def test_a_checkpoint_of_weights_alone_is_refused(tmp_path):
    torch.save({"model": {"weight": torch.zeros(3)}}, tmp_path / "ckpt_1.pt")
    with pytest.raises(InputError, match="weights alone does not say what the model is"):
        OtherClassifier(tmp_path / "ckpt_1.pt", LABELS, TRANSFORM).network()
