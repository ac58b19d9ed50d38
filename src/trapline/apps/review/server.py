"""The routes of the review page."""

import html
from pathlib import Path
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from trapline.apps.review.guard import Guard
from trapline.apps.review.pictures import Pictures
from trapline.apps.review.session import FILTERS, SORTS, Query, Refused, Session
from trapline.core.errors import TraplineError
from trapline.io.images import ImageFailure

PAGE = Path(__file__).parent / "page"
SCRIPT = "text/javascript"
SCRIPTS = dict.fromkeys(("review.js", "keys.js", "find.js"), SCRIPT)
FILES = {"icon.svg": "image/svg+xml", **SCRIPTS, "review.css": "text/css"}
MOST_ROWS = 500


class Decide(msgspec.Struct, forbid_unknown_fields=True):
    """What the page sends to decide about rows."""

    rows: list[int]
    action: str
    tab: str
    to: str = ""


class Undo(msgspec.Struct, forbid_unknown_fields=True):
    """What the page sends to take something back: the tab's last decision, or the last about one row."""

    tab: str
    row: int | None = None


def application(session: Session, guard: Guard) -> Starlette:
    """The page's server, as an ASGI application."""
    pictures = Pictures(session.material.stored)

    def shown(request: Request) -> dict[str, Any]:
        row = request.path_params["row"]
        if not 0 <= row < session.material.rows.height:
            raise Refused(f"there is no row {row}")
        return session.material.rows.row(row, named=True)

    def page(request: Request) -> Response:
        text = (PAGE / "review.html").read_text()
        text = text.replace("[[key]]", guard.key).replace("[[name]]", html.escape(session.material.name))
        return guard.admit(Response(text, media_type="text/html"))

    def static(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in FILES:
            return PlainTextResponse("not found", 404)
        return Response((PAGE / name).read_bytes(), media_type=FILES[name])

    def meta(request: Request) -> Response:
        session.sync()
        return _json(
            {
                "name": session.material.name, "labels": session.labels(), "options": session.options(),
                "sorts": list(SORTS), "version": session.version, "decided": session.decided(),
                "total": session.material.rows.height, "who": session.who,
            }
        )  # fmt: skip

    def rows(request: Request) -> Response:
        asked = request.query_params
        query = Query(
            {name: asked[name] for name in FILTERS if asked.get(name)},
            asked.get("issue", ""),
            asked.get("sort", "order"),
            asked.get("view", "")[:100],
        )
        offset, limit = _number(asked.get("offset", "0")), _number(asked.get("limit", "100"))
        return _json(session.page(query, offset, min(limit, MOST_ROWS)))

    def crop(request: Request) -> Response:
        row = shown(request)
        return _json({**session.detail(request.path_params["row"]), "box": pictures.box(row)})

    def picture(request: Request) -> Response:
        make = pictures.crop if request.path_params["kind"] == "crop" else pictures.frame
        try:
            data = make(shown(request))
        except ImageFailure as failure:
            return PlainTextResponse(str(failure), 404)
        return Response(data, media_type="image/jpeg", headers={"cache-control": "private, max-age=3600"})

    def changes(request: Request) -> Response:
        return _json(session.changes(_number(request.query_params.get("since", "0"))))

    async def decide(request: Request) -> Response:
        asked = msgspec.json.decode(await request.body(), type=Decide)
        return _json(await run_in_threadpool(session.decide, asked.rows, asked.action, asked.to, asked.tab))

    async def undo(request: Request) -> Response:
        asked = msgspec.json.decode(await request.body(), type=Undo)
        if asked.row is not None:
            return _json(await run_in_threadpool(session.undo_row, asked.row))
        return _json(await run_in_threadpool(session.undo, asked.tab))

    def refused(request: Request, error: Exception) -> Response:
        return PlainTextResponse(str(error), 400)

    def failed(request: Request, error: Exception) -> Response:
        return PlainTextResponse(str(error), 507)

    app = Starlette(
        routes=[
            Route("/", page),
            Route("/page/{name}", static),
            Route("/api/meta", meta),
            Route("/api/rows", rows),
            Route("/api/crops/{row:int}", crop),
            Route("/api/changes", changes),
            Route("/api/decide", decide, methods=["POST"]),
            Route("/api/undo", undo, methods=["POST"]),
            Route("/picture/{kind}/{row:int}", picture),
        ],
        exception_handlers={
            Refused: refused, msgspec.DecodeError: refused, msgspec.ValidationError: refused, TraplineError: failed,
        },
    )  # fmt: skip
    app.add_middleware(BaseHTTPMiddleware, dispatch=guard)
    return app


def _json(value: object) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 12:
        raise Refused(f"{text!r} is not a number")
    return int(text)
