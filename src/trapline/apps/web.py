"""What the servers share: an address to listen at, whom a request says it is for, and how they run until stopped."""

import hmac
import signal
import socket
import threading
from types import FrameType
from urllib.parse import urlsplit

import uvicorn

from trapline.core.errors import InputError

LOOPBACK = "127.0.0.1"
HOSTS = {LOOPBACK, "localhost"}
SAFE = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "x-frame-options": "DENY",
}


def same(given: str | None, expected: str) -> bool:
    """Whether a secret is the expected one; takes as long for every wrong one."""
    return given is not None and hmac.compare_digest(given.encode(), expected.encode())


def host_name(host: str) -> str:
    """The name in a Host header, without its port; empty where it makes no sense."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def listen(address: str, port: int) -> socket.socket:
    """A socket that listens; port 0 takes any free one.

    Raises:
        InputError: It cannot be had.
    """
    listening = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((address, port))
        listening.listen()  # so that who is told the address may use it at once
    except (OSError, OverflowError) as error:
        listening.close()
        reason = getattr(error, "strerror", None) or error
        told = "" if address == LOOPBACK else f" of {address}"
        raise InputError(f"port {port}{told} cannot be used ({reason}). Choose another, or leave --port out.") from None
    return listening


def serve(server: uvicorn.Server, listening: socket.socket) -> None:
    """Until Ctrl-C or a polite kill. Uvicorn's own handling would raise the signal again when it is done."""

    def stop(number: int, frame: FrameType | None) -> None:
        server.should_exit = True

    main = threading.current_thread() is threading.main_thread()
    before = {n: signal.signal(n, stop) for n in (signal.SIGINT, signal.SIGTERM)} if main else {}
    worker = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    worker.start()
    try:
        while worker.is_alive():
            worker.join(0.2)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
