"""`trapline serve` as a process of its own."""

import json
import signal
import socket
import threading
import time
from pathlib import Path

import httpx
import pytest

from serving import Running, picture, write_model
from trapline.apps.serve import running as running_module
from trapline.apps.serve.answering import open_artifact
from trapline.apps.serve.settings import Settings
from trapline.core.log import Log


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(write_model(tmp_path_factory.mktemp("model") / "model.onnx"))


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_told_to_end_it_finishes_what_is_in_progress(model, number):
    """The boxes wait for others that never come: it is told to end while they do."""
    server = Running("--model", model, "--batch-wait", "2500")
    answers = []

    def ask():
        files = {"image": ("a.jpg", picture())}
        answers.append(httpx.post(f"{server.url}/predict", files=files, timeout=120))

    try:
        asking = [threading.Thread(target=ask) for _ in range(3)]
        for thread in asking:
            thread.start()
        end = time.monotonic() + 60
        while server.metric("trapline_requests_in_progress") < 3 and not answers:
            assert time.monotonic() < end
        code, said, log = server.stop(number)
        for thread in asking:
            thread.join(60)
    finally:
        server.kill()
    assert [answer.status_code for answer in answers] == [200] * 3
    assert code == 0
    assert "every request that was begun has its answer" in said
    assert [line["status"] for line in log if line["path"] == "/predict"] == [200] * 3
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{server.url}/ping")


@pytest.mark.slow
def test_slow_and_broken_connections_leave_it_alive(model):
    server = Running("--model", model, "--timeout", "2")
    lines = ["POST /invocations HTTP/1.1", "host: 127.0.0.1", "content-type: application/json", "content-length: 5000"]
    head = "\r\n".join([*lines, "", ""]).encode()
    try:
        slow = [socket.create_connection(server.address, timeout=60) for _ in range(3)]
        for one in slow:
            one.sendall(head + b'{"image": "')
        for one in (b"no http at all\r\n\r\n", head, b"POST / HTTP/1.1\r\n" + b"a" * 100_000):
            with socket.create_connection(server.address, timeout=60) as broken:
                broken.sendall(one)
        for one in slow:
            answer = b"".join(iter(lambda one=one: one.recv(65536), b""))
            assert answer.startswith(b"HTTP/1.1 408 ")
            assert b"connection: close" in answer.lower()
            one.close()
        assert httpx.post(f"{server.url}/predict", files={"image": ("a.jpg", picture())}).status_code == 200
        large = json.dumps({"image": "A" * 40_000_000})
        json_head = {"content-type": "application/json"}
        assert httpx.post(f"{server.url}/invocations", content=large, headers=json_head).status_code == 413
        form_head = {"content-type": "multipart/form-data; boundary=x"}
        assert httpx.post(f"{server.url}/predict", content=b"no form", headers=form_head).status_code == 400
        assert httpx.get(f"{server.url}/ping").status_code == 200
        code, _, log = server.stop()
        assert code == 0
        assert sorted(line["status"] for line in log) == [200, 200, 400, 400, 408, 408, 408, 413]
    finally:
        server.kill()


def test_a_head_that_does_not_come_is_not_waited_for(model, monkeypatch):
    """In this process, with a shorter time for it."""
    monkeypatch.setattr(running_module, "HEAD_S", 0.3)
    servers = []

    def kept(server, listening):
        servers.append(server)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            with socket.create_connection(listening.getsockname(), timeout=60) as slow:
                slow.sendall(b"GET /ping HTTP/1.1\r\nhost: 127")
                assert slow.recv(100) == b""
        finally:
            server.should_exit = True
            thread.join(60)

    monkeypatch.setattr(running_module.web, "serve", kept)
    running_module.serve(open_artifact(Path(model), 1), Settings(port=0), log=Log())
    assert servers
