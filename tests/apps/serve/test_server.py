import asyncio
import base64
import io
import json
import re
import threading
import time

import httpx
import msgspec
import numpy as np
import pytest
from PIL import Image

from serving import ARTIFACT, LABELS, SIZE, Served, by_hand, picture, write_model
from trapline.apps.serve.answering import Answering, open_artifact
from trapline.cli import run_command
from trapline.core.errors import InputError

TOKEN = "a token of some length"
BOXES = [(0.05, 0.1, 0.15, 0.2), (0.4, 0.1, 0.15, 0.2), (0.75, 0.1, 0.15, 0.2), (0.2, 0.3, 0.3, 0.4)]  # square ones


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model") / "model.onnx")


@pytest.fixture(scope="module")
def served(model):
    running = Served(model)
    yield running
    running.close()


def scores(told) -> list[float]:
    return [told[label] for label in LABELS]


def test_a_form_with_boxes(served):
    photo = picture()
    answer = served.predict(photo, *BOXES, [1.5, 0.2, 0.1, 0.1])
    assert answer.status_code == 200
    told = answer.json()
    assert told["image"] == {"width": 400, "height": 300}
    assert [tuple(box["bbox"]) for box in told["boxes"][:4]] == BOXES
    for box, given in zip(told["boxes"], BOXES, strict=False):
        assert scores(box["scores"]) == pytest.approx(by_hand(photo, given), abs=0.02)  # the crop goes through JPEG
    assert told["boxes"][4] == {"bbox": [1.5, 0.2, 0.1, 0.1], "error": "box lies outside the image"}


def test_the_answer_keeps_to_the_thresholds(served):
    """red is sure at 0.6; green is not at 0.9999; blue never is."""
    boxes = served.predict(picture(), *BOXES[:3]).json()["boxes"]
    likeliest = [max(box["scores"], key=box["scores"].get) for box in boxes]
    assert likeliest == ["red", "green", "blue"]
    assert [box["answer"] for box in boxes] == ["red", None, None]


def test_without_a_box_the_whole_image(served):
    told = served.predict(picture()).json()
    assert [box["bbox"] for box in told["boxes"]] == [[0, 0, 1, 1]]


def test_boxes_are_of_the_image_as_seen(served):
    """Stored upside down, with the EXIF orientation that says so: red is on the left all the same."""
    buffer, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 3
    with Image.open(io.BytesIO(picture())) as image:
        image.transpose(Image.Transpose.ROTATE_180).save(buffer, "JPEG", exif=exif)
    assert served.predict(buffer.getvalue(), BOXES[0]).json()["boxes"][0]["answer"] == "red"


@pytest.mark.parametrize("where", ["/invocations", "/predictions/run_1"])
def test_animls_request(served, where):
    photo = picture()
    x, y, w, h = BOXES[3]
    box = [y, x, y + h, x + w]
    expected = by_hand(photo, BOXES[3])
    for given in (box, str(box)):
        answer = served.animl(photo, given, where)
        assert answer.status_code == 200
        assert answer.json().keys() == set(LABELS)
        assert scores(answer.json()) == pytest.approx(expected, abs=0.02)
    files = {"image": ("a.jpg", photo)}
    as_form = served.http.post(where, data={"bbox": str(box)}, files=files).json()
    text = {"image": (None, base64.b64encode(photo)), "bbox": (None, str(box))}
    as_text = served.http.post(where, files=text).json()
    assert as_form == as_text == served.animl(photo, box, where).json()


def test_another_models_name_is_not_found(served):
    answer = served.animl(picture(), None, "/predictions/other")
    assert (answer.status_code, answer.json()) == (404, {"error": "there is no such model here, but run_1"})


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "BMP", "GIF"])
def test_other_kinds_of_pictures(served, kind):
    assert served.predict(picture(kind=kind), BOXES[0]).json()["boxes"][0]["scores"]["red"] > 0.8


def test_a_box_that_cannot_be_answered(served):
    answer = served.predict(picture(), [3, 3, 1, 1])
    assert answer.status_code == 422
    assert answer.json()["error"] == answer.json()["boxes"][0]["error"] == "box lies outside the image"
    assert served.animl(picture(), [2, 2, 3, 3]).status_code == 422


def test_limits_of_bytes_and_pixels(model):
    running = Served(model, max_bytes=5000, max_pixels=20_000)
    small, wide = picture(100, 100), picture(300, 100, quality=20)
    assert max(len(small), len(wide)) < 4000
    assert running.predict(small).status_code == 200
    assert (running.predict(wide).status_code, "too large" in running.predict(wide).text) == (413, True)
    answer = running.predict(small + b" " * 5000)
    assert (answer.status_code, answer.json()["error"]) == (413, "the request is larger than 5,000 bytes")
    unstated = running.http.post("/invocations", content=iter([b"x" * 3000, b"x" * 3000]))
    assert unstated.status_code == 413
    running.close()


def test_the_token(model):
    with pytest.raises(InputError, match="show a token then"):
        Served(model, host="0.0.0.0")
    with pytest.raises(InputError, match="too short"):
        Served(model, host="0.0.0.0", token="short")
    running = Served(model, host="0.0.0.0", token=TOKEN)
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": TOKEN}, {"authorization": "Bearer "}):
        answer = running.predict(picture(), headers=headers)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert running.http.get("/metrics", headers=headers).status_code == 401
    right = {"authorization": f"Bearer {TOKEN}"}
    assert running.predict(picture(), headers={**right, "host": "camera.example"}).status_code == 200
    assert running.http.get("/metrics", headers=right).status_code == 200
    passed_on = {"x-amzn-sagemaker-custom-attributes": f"Bearer {TOKEN}"}
    assert running.animl(picture(), headers=passed_on).status_code == 200
    assert running.predict(picture(), headers=passed_on).status_code == 401
    for path in ("/ping", "/docs", "/openapi.json"):
        assert running.http.get(path).status_code == 200
    running.close()


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost@evil.example", "[", "", "0.0.0.0"]
)
def test_another_host_is_refused(served, host):
    assert served.predict(picture(), headers={"host": host}).status_code == 403
    assert served.http.get("/metrics", headers={"host": host}).status_code == 403


def test_another_page_is_refused(served):
    for headers in ({"origin": "http://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}):
        assert served.predict(picture(), headers=headers).status_code == 403
    own = {"origin": "http://localhost:8080", "host": "localhost:8080", "sec-fetch-site": "same-origin"}
    assert served.predict(picture(), headers=own).status_code == 200


def test_the_log_holds_no_picture(served):
    photo = picture()
    served.said.clear()
    served.predict(photo, BOXES[0])
    served.animl(photo, None, f"/predictions/{'x' * 5000}")
    served.http.post("/invocations", content=b'{"image": "' + base64.b64encode(photo) + b'!", "bbox": "secret"}')
    first, second, third = served.said
    assert (first["path"], first["status"], first["boxes"]) == ("/predict", 200, 1)
    assert first["bytes"] > len(photo)
    assert first["ms"] > 0
    assert (second["path"], second["status"]) == ("/predictions", 404)
    assert (third["status"], "base64" in third["error"]) == (400, True)
    assert max(len(json.dumps(line)) for line in served.said) < 400
    assert "secret" not in json.dumps(served.said)


def test_metrics(model):
    running = Served(model)
    running.predict(picture(), *BOXES)
    running.predict(b"no picture")
    running.http.get("/nowhere/1")
    text = running.http.get("/metrics").text
    for line in (
        'trapline_requests_total{path="/predict",status="200"} 1.0',
        'trapline_requests_total{path="/predict",status="400"} 1.0',
        'trapline_requests_total{path="other",status="404"} 1.0',
        'trapline_boxes_total{outcome="answered"} 4.0',
        "trapline_batch_boxes_sum 4.0",
        "trapline_requests_in_progress 0.0",
        "process_resident_memory_bytes ",
    ):
        assert line in text
    running.close()


def test_the_page_of_documents_needs_nothing_from_elsewhere(served):
    answer = served.http.get("/docs")
    assert not re.search(r"(src|href)=.?(?!['\"]?/openapi.json)", answer.text)
    assert "<code>POST /predict</code>" in answer.text
    assert "<script" not in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]


class Held:
    """A classifier whose network waits until it is let go, and keeps the sizes of its batches."""

    def __init__(self):
        self.go, self.entered, self.batches = threading.Event(), threading.Event(), []
        self.answering = Answering(ARTIFACT, self._network)

    def _network(self, crops):
        self.entered.set()
        self.go.wait(60)
        self.batches.append(len(crops))
        assert crops.shape[1:] == (SIZE, SIZE, 3)
        return np.full((len(crops), 3), 1 / 3, np.float32)


async def until(condition) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.005)


async def asking(running, *boxes):
    """POST /predict without the test client, which asks one thing at a time."""
    transport = httpx.ASGITransport(running.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080") as http:
        data = {"bbox": [str(list(box)) for box in boxes]}
        return await http.post("/predict", data=data, files={"image": ("a.jpg", picture())})


def in_progress(running) -> float:
    return running.work.metrics.in_progress._value.get()


def test_a_full_queue_says_when_to_come_again():
    held = Held()
    running = Served(held.answering, queue=3)

    async def story():
        begun = [asyncio.create_task(asking(running)) for _ in range(3)]
        await until(lambda: in_progress(running) == 3)
        refused = await asking(running)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert running.http.get("/ping").status_code == 200
        held.go.set()
        assert [(await one).status_code for one in begun] == [200] * 3
        assert (await asking(running)).status_code == 200

    asyncio.run(story())
    running.close()


def test_boxes_of_several_requests_are_computed_together():
    held = Held()
    running = Served(held.answering, batch_size=4)

    async def story():
        begun = [asyncio.create_task(asking(running))]
        await until(held.entered.is_set)  # the first is being computed alone
        begun += [asyncio.create_task(asking(running, *BOXES[:2])) for _ in range(3)]
        await until(lambda: running.work._batcher.waiting == 6)
        held.go.set()
        assert [(await one).status_code for one in begun] == [200] * 4

    asyncio.run(story())
    assert held.batches == [1, 4, 2]
    running.close()


def test_an_answer_that_takes_too_long_is_given_up():
    held = Held()
    running = Served(held.answering, timeout_s=1.5)
    answer = running.predict(picture())
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    held.go.set()
    running.close()


def test_a_network_that_fails_is_told_without_details_and_logged():
    def broken(crops):
        raise RuntimeError("out of something")

    running = Served(Answering(ARTIFACT, broken))
    answer = running.predict(picture())
    assert (answer.status_code, answer.json()) == (500, {"error": "the server failed; its log says why"})
    assert "out of something" in running.said[-1]["error"]
    assert running.predict(picture()).status_code == 500
    running.close()


def test_bad_options(model, capsys, monkeypatch, tmp_path):
    monkeypatch.delenv("TRAPLINE_TOKEN", raising=False)
    for words, told in [
        (["--model", str(model), "--host", "0.0.0.0"], "requests must show a token then"),
        (["--model", str(model), "--batch-size", "0", "--queue", "0"], "--queue must be at least 1"),
        (["--model", str(model), "--run", "x"], "give one of them"),
        (["--model", str(tmp_path / "none.onnx")], "there is no file"),
        (["--model", str(model), "--token-file", str(tmp_path / "none")], "cannot be read"),
        (["--model", str(model), "--port", "99999"], "port 99999 cannot be used"),
    ]:
        assert run_command(["serve", *words]) == 2
        assert told in capsys.readouterr().err


def test_multilabel_answers_are_lists(model):
    network = open_artifact(model, 1).network
    several = msgspec.structs.replace(ARTIFACT, multilabel=True, thresholds={"red": 0.3, "green": 0.2, "blue": 0.9})
    running = Served(Answering(several, network))
    assert running.predict(picture()).json()["boxes"][0]["answer"] == ["red", "green"]
    running.close()
