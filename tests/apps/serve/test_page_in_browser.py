"""The page at `/`, driven as a person does: drop a photograph, draw boxes, read the answers."""

import base64
import io
import threading
from contextlib import contextmanager

import msgspec
import numpy as np
import pytest
import uvicorn
from PIL import Image

import training
from browser import opened, started
from trapline.apps.serve.answering import Answering, open_artifact
from trapline.apps.serve.classifying import Classifying
from trapline.apps.serve.server import application
from trapline.apps.serve.settings import Settings
from trapline.apps.web import LOOPBACK, listen
from trapline.cli import run_command
from trapline.core.geometry import GivenBox

HOSTILE = '<img src=x onerror="alert(1)">'
LABELS = ("ant", HOSTILE, "cat")
TOKEN = "a token of this test alone"
SMALL = (400, 800)

pytestmark = pytest.mark.usefixtures("one_core")


@pytest.fixture(scope="module")
def browser():
    with started() as found:
        yield found


@pytest.fixture(scope="module")
def model(tmp_path_factory, one_core) -> Answering:
    folder = tmp_path_factory.mktemp("run")
    training.run(folder, *training.draw(folder / "crops"))
    path = folder / "run/checkpoints/best.pt"
    training.soften(path, 0.3)
    assert run_command(["export", "--run", str(path), "--to", "onnx", "-o", str(folder / "out")]) == 0
    found = open_artifact(folder / "out/model.onnx")
    told = msgspec.structs.replace(found.artifact, labels=LABELS, run=HOSTILE, thresholds=dict.fromkeys(LABELS, 0.01))
    return Answering(told, found.network)


@contextmanager
def serving(model, **changes):
    """The page's address."""
    with listen(LOOPBACK, 0) as listening:
        settings = Settings(**changes)
        work = Classifying(model, settings)
        app = application(work, settings, lambda record: None)
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
        worker = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        worker.start()
        try:
            yield f"http://{LOOPBACK}:{listening.getsockname()[1]}/"
        finally:
            server.should_exit = True
            worker.join()
            work.close()


def photograph(kind="JPEG", turned=1, size=(640, 480)) -> bytes:
    coarse = np.random.default_rng(0).integers(0, 255, (12, 16, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = turned
    buffer = io.BytesIO()
    Image.fromarray(coarse).resize(size).save(buffer, kind, exif=exif)
    return buffer.getvalue()


def choose(page, data, name="a.jpg"):
    page.set_input_files("#file", {"name": name, "mimeType": "image/jpeg", "buffer": data})
    page.wait_for_selector("#stage:not([hidden])")


def drop(page, data, name):
    files = page.evaluate_handle(
        """([text, name]) => {
            const data = new DataTransfer(), bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
            data.items.add(new File([bytes], name, {type: "image/jpeg"}));
            return data;
        }""",
        [base64.b64encode(data).decode(), name],
    )
    page.dispatch_event("#drop", "drop", {"dataTransfer": files})
    page.wait_for_selector("#stage:not([hidden])")


def draw(page, x, y, w, h):
    """Draw a box by mouse, in fractions of the photograph; what the server answers to it."""
    area = page.locator("#photo").bounding_box()
    with page.expect_response("**/predict") as answered:
        page.mouse.move(area["x"] + x * area["width"], area["y"] + y * area["height"])
        page.mouse.down()
        page.mouse.move(area["x"] + (x + w) * area["width"], area["y"] + (y + h) * area["height"], steps=3)
        page.mouse.up()
    return answered.value.json()


def card(page, number, state="done"):
    found = page.locator(f"#boxes li[data-state={state}][data-number='{number}']")
    found.wait_for()
    return found


def shown(found) -> dict[str, str]:
    rows = [row.inner_text().split("\n") for row in found.locator(".bar").all()]
    return {row[0]: row[-1] for row in rows}


def percent(value: float) -> str:
    return "> 99.9%" if value > 0.9995 else "< 0.1%" if value < 0.0005 else f"{100 * value:.1f}%"


@pytest.mark.parametrize("turned", [1, 6])
def test_drop_draw_and_read(browser, model, turned):
    data = photograph(turned=turned)
    with serving(model) as url, opened(browser, url) as page:
        drop(page, data, "a.jpg")
        places = [(0.1, 0.2, 0.5, 0.6), (0.6, 0.1, 0.3, 0.3)]
        told = [draw(page, *place) for place in places]
        for number, (answer, place) in enumerate(zip(told, places, strict=True), 1):
            assert (answer["image"]["width"] > answer["image"]["height"]) == (turned == 1)
            (box,) = answer["boxes"]
            assert box["bbox"] == pytest.approx(place, abs=0.01)
            ((scores,),) = model.scores([(data, [GivenBox(*box["bbox"], unit="fraction", frame="displayed")])])
            expected = {label: percent(float(value)) for label, value in zip(LABELS, scores, strict=True)}
            found = card(page, number)
            assert shown(found) == expected
            assert found.locator(".answer").inner_text() == LABELS[int(np.argmax(scores))]
            fields = [float(field.input_value()) / 100 for field in found.locator("fieldset input").all()]
            assert fields == pytest.approx(place, abs=0.01)
        mark = page.locator(".mark").nth(1).bounding_box()
        area = page.locator("#photo").bounding_box()
        assert (mark["x"] - area["x"]) / area["width"] == pytest.approx(0.6, abs=0.02)


def test_by_keyboard(browser, model):
    with serving(model) as url, opened(browser, url, allowed=("422",)) as page:
        choose(page, photograph())
        page.focus("#add")
        with page.expect_response("**/predict") as answered:
            page.keyboard.press("Enter")
        assert answered.value.json()["boxes"][0]["bbox"] == [0.25, 0.25, 0.5, 0.5]
        with page.expect_response("**/predict") as answered:
            page.keyboard.type("10.5")  # the field of its left side has the focus
            page.keyboard.press("Tab")
        assert answered.value.json()["boxes"][0]["bbox"] == [0.105, 0.25, 0.5, 0.5]
        card(page, 1)
        page.locator("[data-side='2']").fill("0")
        page.keyboard.press("Tab")
        assert "above 0" in card(page, 1, "failed").locator(".note").inner_text()
        with page.expect_response("**/predict"):
            page.locator("[data-side='2']").fill("5")
            page.locator("[data-side='0']").fill("150")
            page.keyboard.press("Tab")
        assert "outside" in card(page, 1, "failed").locator(".note").inner_text()
        page.focus(".remove")
        page.keyboard.press("Enter")
        assert page.locator("#boxes li").count() == page.locator(".mark").count() == 0
        with page.expect_response("**/predict") as answered:
            page.focus("#whole")
            page.keyboard.press("Space")
        assert answered.value.json()["boxes"][0]["bbox"] == [0, 0, 1, 1]
        card(page, 2)


def test_names_stay_text_and_errors_are_said(browser, model):
    name = f"{HOSTILE}.jpg"
    with (
        serving(model, max_bytes=500_000) as url,
        opened(browser, url, SMALL, allowed=("400 (Bad Request)",)) as page,
    ):
        assert page.title() == page.locator("h1").inner_text() == HOSTILE
        choose(page, photograph(), name)
        assert page.locator("#name").inner_text() == name
        draw(page, 0.2, 0.2, 0.5, 0.5)
        assert HOSTILE in shown(card(page, 1))
        assert page.locator("img").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth") <= SMALL[0]
        page.set_input_files("#file", {"name": "big.jpg", "mimeType": "image/jpeg", "buffer": bytes(500_001)})
        page.wait_for_function("document.getElementById('said').textContent.includes('too large')")
        choose(page, b"not a picture at all")
        page.wait_for_function("document.getElementById('said').textContent.includes('cannot show')")
        with page.expect_response("**/predict"):
            page.click("#whole")
        assert "not an image" in card(page, 1, "failed").locator(".note").inner_text()


def test_a_token_is_asked_for(browser, model):
    with serving(model, token=TOKEN) as url, opened(browser, url, allowed=("401 (Unauthorized)",)) as page:
        assert page.locator("#token").is_visible()
        choose(page, photograph())
        draw(page, 0.2, 0.2, 0.5, 0.5)
        assert "token" in card(page, 1, "failed").locator(".note").inner_text()
        page.fill("#token", TOKEN)
        page.keyboard.press("Tab")
        assert set(shown(card(page, 1))) == set(LABELS)


def test_nothing_else_may_run(browser, model):
    with serving(model) as url, opened(browser, url, allowed=("Content Security Policy",)) as page:
        answer = page.request.get(url)
        assert "default-src 'none'; script-src 'self'" in answer.headers["content-security-policy"]
        page.evaluate("document.body.append(Object.assign(document.createElement('script'), {text: 'window.ran = 1'}))")
        assert page.evaluate("window.ran") is None
