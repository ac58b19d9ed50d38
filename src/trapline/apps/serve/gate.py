"""What every request passes: who may ask, how many at a time; and what is counted and logged of it."""

import time
from collections.abc import Callable, MutableMapping
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trapline.apps.serve import bodies
from trapline.apps.serve.metrics import Metrics
from trapline.apps.serve.refusing import Refusal, busy
from trapline.apps.serve.settings import OPEN_BELOW, OPEN_PATHS, Settings
from trapline.apps.web import HOSTS, SAFE, host_name, same

Say = Callable[[MutableMapping[str, Any]], None]
"""Writes a line of the log."""
SAGEMAKER = "x-amzn-sagemaker-custom-attributes"
"""The one header of its callers that SageMaker passes on."""
LOGGED = "trapline.logged"
"""Where in a request's scope its handler leaves what the log says of it."""
KNOWN = ("/predict", "/invocations", "/metrics", *OPEN_PATHS)


class Gate:
    """Checks, counts and logs; turns refusals into answers.

    Args:
        app: What answers.
        say: Takes a record per request. It holds no content of the request.
    """

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics, say: Say):
        self._app, self._settings, self._metrics, self._say = app, settings, metrics, say
        self._hosts = {*HOSTS, "::1", settings.host}
        self._in_progress = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI's."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        whole = False

        async def counted() -> Message:
            nonlocal whole
            message = await receive()
            whole = whole or message["type"] == "http.disconnect" or not message.get("more_body")
            return message

        begin, request = time.perf_counter(), Request(scope, counted)
        told: dict[str, Any] = {"event": "request", "method": scope["method"], "path": _path(scope["path"])}
        scope[LOGGED], scope["app"] = told, self  # with an app, the router raises what it does not find
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                names = {name for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"], *((n.encode(), v.encode()) for n, v in SAFE.items() if n.encode() not in names)
                ]  # fmt: skip
            await send(message)

        try:
            try:
                await self._admitted(request, scope, counted, answer)
            except (Refusal, HTTPException) as refusal:
                if status:
                    raise
                why = str(refusal) if isinstance(refusal, Refusal) else refusal.detail
                told["error"] = why
                headers = dict(refusal.headers or {})
                if not whole and scope["method"] not in ("GET", "HEAD"):
                    await bodies.linger(request, self._settings)
                    headers |= {} if whole else {"connection": "close"}
                code = refusal.status if isinstance(refusal, Refusal) else refusal.status_code
                await error(code, why, headers)(scope, receive, answer)
        except Exception as failure:  # a fault of ours: it is logged, and told without its details
            told["error"] = f"{type(failure).__name__}: {failure}"[:300]
            if not status:
                await error(500, "the server failed; its log says why")(scope, receive, answer)
        finally:
            seconds = time.perf_counter() - begin
            self._metrics.requests.labels(told["path"], str(status)).inc()
            self._metrics.seconds.labels(told["path"]).observe(seconds)
            self._say({**told, "status": status, "ms": round(1000 * seconds, 1)})

    async def _admitted(self, request: Request, scope: Scope, receive: Receive, send: Send) -> None:
        self._check(request)
        if request.method != "POST":
            await self._app(scope, receive, send)
            return
        if self._in_progress >= self._settings.queue:
            raise busy(f"{self._settings.queue} requests are in progress already")
        self._in_progress += 1
        self._metrics.in_progress.inc()
        try:
            await self._app(scope, receive, send)
        finally:
            self._in_progress -= 1
            self._metrics.in_progress.dec()

    def _check(self, request: Request) -> None:
        host, path = request.headers.get("host", ""), request.url.path
        if self._settings.loopback and host_name(host) not in self._hosts:
            raise Refusal(403, "this server answers to 127.0.0.1 and localhost only")
        origin = request.headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            raise Refusal(403, "the request comes from another page")
        if request.headers.get("sec-fetch-site", "none") not in ("same-origin", "none") and request.method != "GET":
            raise Refusal(403, "the request comes from another page")
        if self._settings.token is None or path in OPEN_PATHS or path.startswith(OPEN_BELOW):
            return
        shown = [request.headers.get("authorization")]
        if path == "/invocations":
            shown.append(request.headers.get(SAGEMAKER))
        if not any(_bears(text, self._settings.token) for text in shown):
            raise Refusal(401, "the token is missing or wrong: Authorization: Bearer TOKEN", CHALLENGE)


CHALLENGE = {"www-authenticate": "Bearer"}


def _bears(header: str | None, token: str) -> bool:
    scheme, _, given = (header or "").partition(" ")
    return scheme.lower() == "bearer" and same(given.strip(), token)


def _path(path: str) -> str:
    """A path for logs and metrics: one of few, whatever is asked for."""
    if path in KNOWN:
        return path
    return "/predictions" if path.startswith("/predictions/") else "other"


def error(status: int, why: str, headers: Any = None) -> Response:
    """An answer that says what was wrong."""
    return Response(msgspec.json.encode({"error": why}), status, headers, "application/json")
