"""A server to test: a classifier that tells red, green and blue, as an ONNX file made by hand; requests to ask it."""

import base64
import io
import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
from onnx import TensorProto, helper
from PIL import Image
from starlette.testclient import TestClient

from trapline.apps.serve.answering import Answering, open_artifact
from trapline.apps.serve.classifying import Classifying
from trapline.apps.serve.server import application
from trapline.apps.serve.settings import Settings
from trapline.formats.artifact import INPUT, KEY, OUTPUT, Artifact, Crops, Scaling
from trapline.io.model_input import Transform

SIZE, STEEP = 32, 0.02
LABELS = ("red", "green", "blue")
ARTIFACT = Artifact(
    labels=LABELS, transform=Transform(SIZE).as_dict(), crops=Crops("square", 512, 95, "fail", 10_000_000),
    multilabel=False, calibration=Scaling("none", 1.0, (1.0,) * 3, (0.0,) * 3), precision=0.9,
    thresholds={"red": 0.6, "green": 0.9999, "blue": None}, run="run 1", model="by hand", trained={}, made_by="tests",
)  # fmt: skip


def write_model(path: Path) -> Path:
    """A network whose probabilities are the softmax of the mean colour times STEEP."""
    steep = helper.make_tensor("steep", TensorProto.FLOAT, [1], [STEEP])
    nodes = [
        helper.make_node("Cast", [INPUT], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["means"], axes=[1, 2], keepdims=0),
        helper.make_node("Mul", ["means", "steep"], ["logits"]),
        helper.make_node("Softmax", ["logits"], [OUTPUT], axis=1),
    ]
    crops = helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["n", SIZE, SIZE, 3])
    found = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["n", 3])
    graph = helper.make_graph(nodes, "colours", [crops], [found], [steep])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    model.metadata_props.add(key=KEY, value=ARTIFACT.to_json())
    path.write_bytes(onnx.ModelProto.SerializeToString(model))
    return path


def by_hand(photo: bytes, box: tuple[float, float, float, float]) -> np.ndarray:
    """The probabilities of a square box of an image without EXIF, x y w h, by Pillow and numpy alone."""
    with Image.open(io.BytesIO(photo)) as image:
        x, y, w, h = (side * by for side, by in zip(box, (*image.size, *image.size), strict=True))
        crop = np.asarray(image.convert("RGB").crop((round(x), round(y), round(x + w), round(y + h))))
    powers = np.exp(crop.reshape(-1, 3).mean(0) * STEEP)
    return powers / powers.sum()


class Served:
    """The server in this process."""

    def __init__(self, model: Answering | Path, **settings: Any):
        self.settings = Settings(**settings)
        self.work = Classifying(model if isinstance(model, Answering) else open_artifact(model, 1), self.settings)
        self.said: list[dict[str, Any]] = []
        self.app = application(self.work, self.settings, lambda record: self.said.append(dict(record)))
        self.http = TestClient(self.app, base_url="http://127.0.0.1:8080")

    def predict(self, image: bytes, *boxes: Any, **options: Any):
        """POST /predict; boxes are texts, or lists."""
        fields = {"bbox": [box if isinstance(box, str) else str(list(box)) for box in boxes]}
        return self.http.post("/predict", data=fields, files={"image": ("a.jpg", image)}, **options)

    def animl(self, image: bytes, box: Any = None, where: str = "/invocations", **options: Any):
        """Animl's request."""
        return self.http.post(where, json={"image": base64.b64encode(image).decode(), "bbox": box}, **options)

    def close(self) -> None:
        self.work.close()


def picture(width: int = 400, height: int = 300, kind: str = "JPEG", seed: int = 0, **options: Any) -> bytes:
    """A frame of red, green and blue thirds, from left to right, with a little noise."""
    pixels = np.full((height, width, 3), 40, np.int64)
    for k in range(3):
        pixels[:, k * width // 3 : (k + 1) * width // 3, k] = 190
    pixels += np.random.default_rng(seed).integers(-20, 21, pixels.shape)
    buffer = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, kind, **options)
    return buffer.getvalue()


class Running:
    """`trapline serve` as a process of its own."""

    def __init__(self, *words: str):
        command = [sys.executable, "-m", "trapline", "serve", "--port", "0", *words]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        said = ""
        for line in self.process.stdout:
            said += line
            if "Ctrl-C" in line:
                break
        found = re.search(r"http://([\d.]+):(\d+)/predict", said)
        if found is None:
            _, errors = self.process.communicate()
            raise AssertionError(said + errors)
        self.address = found[1], int(found[2])
        self.url = f"http://{found[1]}:{found[2]}"

    def metric(self, name: str) -> float:
        """A value of /metrics."""
        text = httpx.get(f"{self.url}/metrics", timeout=60).text
        return float(next(line.split()[-1] for line in text.splitlines() if line.startswith(f"{name} ")))

    def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str, list[dict[str, Any]]]:
        """Tell it to end; its exit code, what it said last, and its log."""
        self.process.send_signal(number)
        return self.ended()

    def ended(self) -> tuple[int, str, list[dict[str, Any]]]:
        said, errors = self.process.communicate(timeout=120)
        return self.process.returncode, said, [json.loads(line) for line in errors.splitlines()]

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()
