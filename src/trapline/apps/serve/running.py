"""Serve a classifier until it is told to stop; what is in progress is finished then."""

import asyncio
import logging
import sys
import threading
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import Any, TextIO

import msgspec
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from trapline.apps import web
from trapline.apps.serve.answering import Answering
from trapline.apps.serve.classifying import Classifying
from trapline.apps.serve.gate import Say
from trapline.apps.serve.server import application, name_of
from trapline.apps.serve.settings import Settings
from trapline.core.log import Log

CONNECTIONS = 1000
HEAD_S = 15.0  # for a request's head to come


def serve(model: Answering, settings: Settings, *, log: Log, lines: TextIO | None = None) -> None:
    """Answer over HTTP; returns when it is stopped (Ctrl-C or SIGTERM), after what was in progress is answered.

    Args:
        lines: Takes the log of requests, a JSON object a line. Default: stderr.

    Raises:
        InputError: The port cannot be had.
    """
    logging.getLogger().addHandler(logging.NullHandler())  # what libraries warn of is no line of our log
    with web.listen(settings.host, settings.port) as listening:
        work = Classifying(model, settings)
        try:
            work.warm()
            host = f"[{settings.host}]" if ":" in settings.host else settings.host
            url = f"http://{host}:{listening.getsockname()[1]}"
            log.note(
                f"{model.artifact.run} answers at {url}/predict and {url}/predictions/{name_of(model.artifact.run)}"
            )
            log.note(f"how to ask: {url}/docs. Ctrl-C ends it.")
            web.serve(uvicorn.Server(_config(work, settings, writer(lines or sys.stderr))), listening)
        finally:
            work.close()
    log.note("stopped; every request that was begun has its answer.")


def _config(work: Classifying, settings: Settings, say: Say) -> uvicorn.Config:
    return uvicorn.Config(
        application(work, settings, say),
        http=Patient,
        ws="none",
        lifespan="off",
        log_level="critical",
        access_log=False,
        server_header=False,
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=round(2 * settings.timeout_s + 5),
    )


class Patient(H11Protocol):
    """Uvicorn's, that closes a connection on which no whole head of a request comes in time."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        """See asyncio.Protocol."""
        super().connection_made(transport)
        self.loop.call_later(HEAD_S, self._begun)

    def _begun(self) -> None:
        if self.cycle is None and not self.transport.is_closing():
            self.transport.close()


def writer(stream: TextIO) -> Say:
    """Writes records as lines of JSON, each with the time."""
    lock = threading.Lock()

    def say(record: MutableMapping[str, Any]) -> None:
        line = msgspec.json.encode({"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **record}).decode()
        with lock:
            print(line, file=stream, flush=True)

    return say
