"""A real HTTP server that misbehaves as it is told to, object by object, and counts what it is asked."""

import hashlib
import io
import random
import socket
import socketserver
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote

from PIL import Image

STALL_S = 60.0


def jpeg(number: int, side: int = 96) -> bytes:
    """A small JPEG of noise, about 10 kB, different for every number."""
    noise = random.Random(number).randbytes(side * side * 3)
    buffer = io.BytesIO()
    Image.frombytes("RGB", (side, side), noise).save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


def s3_error(code: str, extra: str = "") -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>m</Message>{extra}</Error>".encode()


class Handler(socketserver.StreamRequestHandler):
    server: "Misbehaving"  # type: ignore[assignment]

    def handle(self) -> None:
        try:
            while self.one():
                pass
        except OSError:  # the client went away, or the server is at its end
            pass

    def one(self) -> bool:
        line = self.rfile.readline().decode()
        if not line:
            return False
        headers = {}
        while field := self.rfile.readline().decode().strip():
            name, _, value = field.partition(":")
            headers[name.lower()] = value.strip()
        method, path, _ = line.split()
        name = unquote(path.partition("?")[0]).lstrip("/")
        with self.server.watched():
            return self.server.answer(self, method, name, path, headers)

    def send(self, status: str, body: bytes = b"", *, method: str = "GET", length: int | None = None, **fields: Any):
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
        self.wfile.write("\r\n".join([*lines, "", ""]).encode() + (body if method == "GET" else b""))


class Misbehaving(socketserver.ThreadingTCPServer):
    """Serves `objects` (name -> bytes), with a fault where `faults` names one.

    faults: name -> one fault for ever, or a list of which each request takes one until it is used up. A fault is one of
    the words below, a status with or without an S3 code ("403", "400 ExpiredToken"), or a function of the handler.
    """

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 512

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.objects: dict[str, bytes] = {}
        self.faults: dict[str, str | list[str] | Callable[[Handler], object]] = {}
        self.default: str | None = None
        self.tags = True  # whether the ETag is the MD5
        self.delay = 0.0
        self.gets: Counter[str] = Counter()
        self.heads: Counter[str] = Counter()
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.inside = self.most_inside = 0
        self.guard = threading.Lock()
        self.ending = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @contextmanager
    def watched(self) -> Iterator[None]:
        with self.guard:
            self.inside += 1
            self.most_inside = max(self.most_inside, self.inside)
        try:
            yield
        finally:
            with self.guard:
                self.inside -= 1

    def answer(self, to: Handler, method: str, name: str, path: str, headers: dict[str, str]) -> bool:
        with self.guard:
            (self.gets if method == "GET" else self.heads)[name] += 1
            self.requests.append((path, headers))
            fault = self.faults.get(name, self.default)
            if isinstance(fault, list):
                fault = fault.pop(0) if fault else None
        if self.delay:
            time.sleep(self.delay)
        body = self.objects.get(name)
        if callable(fault):
            fault(to)
            return True
        if fault is None or method == "HEAD":
            if body is None:
                to.send("404 Not Found", s3_error("NoSuchKey"), method=method)
            else:
                tag = md5(body) if self.tags else md5(b"x" + body)
                changed = "Mon, 02 Sep 2024 10:00:00 GMT"
                to.send("200 OK", body, method=method, ETag=f'"{tag}"', Last_Modified=changed)
            return True
        return self.misbehave(to, fault, body or b"")

    def misbehave(self, to: Handler, fault: str, body: bytes) -> bool:
        half = body[: len(body) // 2]
        tag: dict[str, Any] = {"ETag": f'"{md5(body)}"'}
        if fault == "reset":
            to.send("200 OK", half, length=len(body), **tag)
            to.wfile.flush()
            time.sleep(0.05)
            to.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False
        if fault == "truncated":  # the Content-Length is right, the body ends early
            to.send("200 OK", half, length=len(body), **tag)
            return False
        if fault == "short":  # the Content-Length agrees with a body that is not all of it
            to.send("200 OK", half, **tag)
        elif fault == "short, no tag":
            to.send("200 OK", half)
        elif fault == "corrupt":
            to.send("200 OK", body[:-3] + bytes(byte ^ 255 for byte in body[-3:]), **tag)
        elif fault == "stall":
            to.send("200 OK", half, length=len(body), **tag)
            self.ending.wait(STALL_S)
            return False
        elif fault == "hang":
            self.ending.wait(STALL_S)
            return False
        elif fault == "drip":
            to.send("200 OK", b"", length=len(body), **tag)
            for byte in body:
                if self.ending.wait(0.1):
                    return False
                to.wfile.write(bytes([byte]))
        elif fault == "html":
            to.send("200 OK", b"<html>please log in to the hotel's network</html>")
        elif fault == "empty":
            to.send("200 OK", b"")
        elif fault == "no length":
            to.wfile.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body)
            return False
        else:
            status, _, code = fault.partition(" ")
            code, _, extra = code.partition(" ")
            to.send(f"{status} Fault", s3_error(code, extra) if code else b"", Retry_After="1")
        return True


@contextmanager
def misbehaving() -> Iterator[Misbehaving]:
    """A running server, ended afterwards."""
    server = Misbehaving()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.ending.set()
        server.shutdown()
        server.server_close()
        thread.join()
