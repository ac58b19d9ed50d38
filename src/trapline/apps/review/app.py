"""Serve the review page until Ctrl-C."""

import getpass
import os
import signal
import socket
import threading
from types import FrameType

import uvicorn

from trapline.apps.review.guard import Guard
from trapline.apps.review.material import Material
from trapline.apps.review.server import application
from trapline.apps.review.session import Session
from trapline.core.errors import InputError
from trapline.core.log import Log
from trapline.io.notebook import in_notebook

ADDRESS = "127.0.0.1"


def review(material: Material, *, who: str | None = None, port: int = 0, log: Log) -> int:
    """Serve a page on which `material` is reviewed; returns when it is stopped (Ctrl-C).

    Args:
        who: Who decides; default: the name this machine knows.
        port: Of 127.0.0.1; 0: any free one.

    Returns:
        How many decisions were made.

    Raises:
        InputError: The port is taken, or corrections.csv cannot be used.
    """
    listening = _listen(port)
    with listening:
        port = listening.getsockname()[1]
        guard = Guard(port)
        session = Session(material, who or _name())
        for line in how_to_reach(port, guard.token):
            log.note(line)
        log.note(f"{material.rows.height:,} crops, {session.decided():,} decided. Ctrl-C ends the review.")
        server = uvicorn.Server(
            uvicorn.Config(application(session, guard), log_level="error", access_log=False, lifespan="off")
        )
        server.config.timeout_graceful_shutdown = 2
        _serve(server, listening)
    log.note(f"{session.made:,} decisions were made; they are in {material.corrections}.")
    if session.made:
        log.note(f"next: {material.afterwards}")
    return session.made


def how_to_reach(port: int, token: str) -> list[str]:
    """What to type, or click, to see the page: here, over ssh, from a notebook."""
    url = f"http://{ADDRESS}:{port}/?token={token}"
    lines = [f"open {url}"]
    if in_notebook() or os.environ.get("SSH_CONNECTION") or os.environ.get("JUPYTERHUB_USER"):
        host = socket.gethostname()
        lines += [
            "the page is on this machine only. On yours, in a terminal that stays open:",
            f"    ssh -N -L {port}:{ADDRESS}:{port} {host}",
            "and then open the address above in your browser.",
        ]
    return lines


def _listen(port: int) -> socket.socket:
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((ADDRESS, port))
        listening.listen(128)  # a browser that is quicker than the server waits, and is not refused
    except (OSError, OverflowError) as error:
        listening.close()
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"port {port} cannot be used ({reason}). Choose another, or leave --port out.") from None
    return listening


def _serve(server: uvicorn.Server, listening: socket.socket) -> None:
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


def _name() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"
