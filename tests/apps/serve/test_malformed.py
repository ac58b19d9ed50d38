"""A thousand requests that make no sense: each is told so with a 4xx, and the next good one gets its answer."""

import asyncio
import base64
import io
import json
import random
import struct
import zlib
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from serving import Served, picture, write_model

MOST_BYTES = 300_000
PHOTO = picture(160, 120)
JSON = {"content-type": "application/json"}
BAD_NUMBERS = ["NaN", "Infinity", "-Infinity", "1e999", "null", "true", '"a"', "[]", "{}", "1" * 400, "0x1", "--1", ""]


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb(chance: random.Random) -> bytes:
    """A small file that says it has more pixels than there may be."""
    side = chance.randint(20_000, 65_000)
    kind = chance.choice(["png", "jpeg", "gif", "bmp"])
    if kind == "png":
        head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        rows = zlib.compress(bytes(100_000), 9)
        return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    data = bytearray(PHOTO if kind == "jpeg" else picture(16, 16, kind.upper()))
    if kind == "jpeg":
        struct.pack_into(">HH", data, data.index(b"\xff\xc0") + 5, side, side)
    elif kind == "gif":
        struct.pack_into("<HH", data, 6, side, side)
    else:
        struct.pack_into("<ii", data, 18, side, side)
    return bytes(data)


def eps(chance: random.Random) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((20, 20, 3), 90, np.uint8)).save(buffer, chance.choice(["EPS", "PPM", "PCX", "TGA", "ICO"]))
    return buffer.getvalue()


def many_scans(chance: random.Random) -> bytes:
    """A progressive JPEG whose last scan comes again and again."""
    data = picture(64, 64, progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * chance.randint(100, 200) + data[-2:]


def broken(chance: random.Random) -> bytes:
    """A file that is no whole picture."""
    return chance.choice(
        [
            lambda: PHOTO[: chance.randrange(1, len(PHOTO) * 8 // 10)],
            lambda: chance.randbytes(chance.randint(1, 2000)),
            lambda: b"\xff\xd8\xff" + chance.randbytes(500),
            lambda: picture(64, 64, "PNG")[: chance.randint(30, 800)],
            lambda: b"GIF89a" + chance.randbytes(3),
            lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>",
            lambda: bomb(chance),
            lambda: eps(chance),
            lambda: many_scans(chance),
        ]
    )()


def box_text(chance: random.Random) -> str:
    """What is no box, in either order of sides."""
    numbers = ["0.1", "0.2", "0.7", "0.8"]
    numbers[chance.randrange(4)] = chance.choice(BAD_NUMBERS)
    return chance.choice(
        [
            "[" + ",".join(numbers) + "]",
            "[" + ",".join(["0.2"] * chance.choice([1, 2, 3, 5, 9])) + "]",
            "[0.5, 0.5, 0, 0]",
            "[0.1, 0.1, -0.5, -0.5]",
            f"[{chance.uniform(1.01, 9)}, 2, 10, 10]",
            f"[{chance.uniform(-9, -6)}, -3, -5, -2]",
            '"fox"',
            "[[0.1, 0.1, 0.2, 0.2]]",
            "[" * chance.randint(2, 3000),
            "{}",
        ]
    )


def as_json(image: object, box: str | None = None) -> bytes:
    told = image if isinstance(image, str) else json.dumps(base64.b64encode(image).decode())  # type: ignore[arg-type]
    return b'{"image": %s, "bbox": %s}' % (told.encode(), (box or "null").encode())


def json_request(chance: random.Random) -> tuple[str, dict]:
    where = chance.choice(["/invocations", "/predictions/run_1"])
    text = base64.b64encode(PHOTO).decode()
    body = chance.choice(
        [
            lambda: as_json(broken(chance)),
            lambda: as_json(PHOTO, box_text(chance)),
            lambda: as_json(json.dumps(text[: 4 * chance.randint(5, 50) + 1])),
            lambda: as_json(json.dumps(text[:99] + chance.choice("!*?é\u0000") + text[99:])),
            lambda: as_json(chance.choice(["1", "null", "[]", "{}", '""', "true", '"data:image/jpeg;base64,AAAA"'])),
            lambda: b"[" * chance.randint(1, 100_000),
            lambda: b'{"image":' * chance.randint(1, 20_000),
            lambda: b'{"bbox":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
            lambda: json.dumps({"image": "A" * chance.randint(MOST_BYTES, MOST_BYTES + 9000)}).encode(),
            lambda: b'{"image": "' + chance.randbytes(100) + b'\xff"}',
            lambda: chance.choice([b"", b" ", b"null", b"1", b'"a"', b"[]", b"{}", b"NaN", b"{'image': 1}"]),
            lambda: json.dumps({str(k): k for k in range(10_000)}).encode(),
        ]
    )()
    return where, {"content": body, "headers": JSON}


def form_request(chance: random.Random) -> tuple[str, dict]:
    edge = "edge"
    head = {"content-type": f"multipart/form-data; boundary={edge}"}
    part = b'--edge\r\ncontent-disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n' + PHOTO + b"\r\n"
    files = {"image": ("a.jpg", PHOTO)}
    options = chance.choice(
        [
            lambda: {"files": {"image": ("a.jpg", broken(chance))}},
            lambda: {"files": files, "data": {"bbox": box_text(chance)}},
            lambda: {"files": files, "data": {"bbox": ["[0, 0, 1, 1]", box_text(chance)]} | {"bbox": box_text(chance)}},
            lambda: {"files": {"image": ("a.jpg", b"")}},
            lambda: {"files": {"picture": ("a.jpg", PHOTO)}},
            lambda: {"files": [("image", ("a.jpg", PHOTO)), ("image", ("b.jpg", PHOTO))]},
            lambda: {"files": {"image": (None, "text")}},
            lambda: {"files": files, "data": {"bbox": ["[0, 0, 1, 1]"] * 300}},
            lambda: {"files": {"image": ("a.jpg", PHOTO + bytes(MOST_BYTES))}},
            lambda: {"content": part[: chance.randint(0, len(part))], "headers": head},
            lambda: {"content": chance.randbytes(300), "headers": head},
            lambda: {"content": part, "headers": {"content-type": "multipart/form-data"}},
            lambda: {"content": part, "headers": {"content-type": 'multipart/form-data; boundary="' + "x" * 999}},
            lambda: {"content": b"--edge\r\nno header\r\n\r\nx\r\n--edge--\r\n", "headers": head},
        ]
    )()
    return "/predict", options


def odd_request(chance: random.Random) -> tuple[str, dict]:
    kind = chance.choice(
        ["text/plain", "image/jpeg", "application/xml", "application/x-www-form-urlencoded", ";", "é/é"]
    )
    headers = {"content-type": kind.encode("latin-1")}
    return chance.choice(["/predict", "/invocations", "/predictions/x", "/ping", "/nothing", "//", "/predict/"]), {
        "content": chance.choice([PHOTO, b"", as_json(PHOTO)]),
        "headers": headers,
    }


@pytest.fixture
def served(tmp_path):
    running = Served(write_model(tmp_path / "model.onnx"), max_bytes=MOST_BYTES, max_pixels=4_000_000)
    yield running
    running.close()


def test_a_thousand_requests_that_make_no_sense(served):
    chance = random.Random(0)
    statuses: Counter[int] = Counter()
    makers = [json_request, form_request, odd_request]
    for number in range(1000):
        where, options = chance.choices(makers, [4, 4, 1])[0](chance)
        answer = served.http.post(where, **options)
        statuses[answer.status_code] += 1
        assert 400 <= answer.status_code < 500, (number, where, str(options)[:100], str(options)[-500:], answer.text)
        told = answer.json()
        assert isinstance(told["error"], str), told
        assert len(told["error"]) < 300
        if number % 100 == 0:
            assert served.predict(PHOTO).status_code == 200
    assert {400, 404, 405, 413, 415, 422} <= statuses.keys()
    assert sum(statuses.values()) == 1000
    assert served.predict(PHOTO).status_code == 200
    assert served.work._batcher.waiting == 0


@pytest.mark.parametrize("sent", [0, 1, 3])
def test_a_body_that_does_not_come_is_not_waited_for(tmp_path, sent):
    """A few pieces come; then nothing does."""
    running = Served(write_model(tmp_path / "model.onnx"), timeout_s=0.2)
    pieces = [{"type": "http.request", "body": b'{"image": "AAAA', "more_body": True}] * sent

    async def receive():
        if pieces:
            return pieces.pop()
        await asyncio.sleep(3600)
        raise AssertionError

    answers = []

    async def send(message):
        answers.append(message)

    scope = {
        "type": "http", "method": "POST", "path": "/invocations", "raw_path": b"/invocations", "query_string": b"",
        "headers": [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")], "scheme": "http",
        "server": ("127.0.0.1", 8080), "client": ("127.0.0.1", 1), "root_path": "", "http_version": "1.1",
    }  # fmt: skip
    asyncio.run(running.app(scope, receive, send))
    assert answers[0]["status"] == 408
    assert "did not arrive" in json.loads(answers[1]["body"])["error"]
    running.close()
