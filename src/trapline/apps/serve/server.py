"""The routes of `trapline serve`."""

import re
from typing import Any

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route, Router

from trapline.apps.serve import asking, bodies, openapi, page
from trapline.apps.serve.asking import Asked
from trapline.apps.serve.classifying import Answered, Classifying
from trapline.apps.serve.gate import LOGGED, Gate, Say
from trapline.apps.serve.refusing import Refusal
from trapline.apps.serve.settings import Settings

FORM, JSON = "multipart/form-data", "application/json"


def name_of(run: str) -> str:
    """What a model is called in /predictions/{name}: as TorchServe's archive of it."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", run)


def application(work: Classifying, settings: Settings, say: Say) -> Gate:
    """The server, as an ASGI application.

    Args:
        say: Takes a record per request, for the log.
    """
    artifact = work.model.artifact
    name = name_of(artifact.run)
    described = openapi.describe(name, artifact, settings)
    documents = msgspec.json.format(msgspec.json.encode(described), indent=1), openapi.page(described)

    async def answered(request: Request, asked: Asked) -> Answered:
        request.scope[LOGGED]["boxes"] = len(asked.boxes)
        return await work.answer(asked)

    async def body_of(request: Request) -> bytes:
        data = await bodies.read(request, settings)
        request.scope[LOGGED]["bytes"] = len(data)
        work.metrics.bytes.inc(len(data))
        return data

    async def predict(request: Request) -> Response:
        if bodies.content_type(request) != FORM:
            raise _unsupported(FORM)
        asked = await asking.of_form(await bodies.form(request, await body_of(request)))
        found = await answered(request, asked)
        boxes = []
        for box, scores in zip(found.boxes, found.scores, strict=True):
            told: dict[str, Any] = {"bbox": [box.x, box.y, box.w, box.h]}
            if isinstance(scores, str):
                told["error"] = scores
            else:
                told |= {"scores": work.model.answer(scores), "answer": work.model.named(scores)}
            boxes.append(told)
        told = {"image": dict(zip(("width", "height"), found.size_px, strict=True)), "boxes": boxes}
        failed = [box["error"] for box in boxes if "error" in box]
        if len(failed) < len(boxes):
            return _json(told)
        return _json({"error": failed[0], **told}, 422)

    async def animl(request: Request) -> Response:
        kind = bodies.content_type(request)
        if kind not in (JSON, FORM, None):
            raise _unsupported(f"{JSON} or {FORM}")
        body = await body_of(request)
        if kind == FORM:
            asked = await asking.of_animl_form(await bodies.form(request, body))
        else:
            asked = await work.aside(asking.of_animl, body)
        (scores,) = (await answered(request, asked)).scores
        if isinstance(scores, str):
            raise Refusal(422, scores)
        return _json(work.model.answer(scores))

    async def predictions(request: Request) -> Response:
        if request.path_params["name"] != name:
            raise Refusal(404, f"there is no such model here, but {name}")
        return await animl(request)

    async def ping(request: Request) -> Response:
        return _json({"status": "Healthy"})

    async def metrics(request: Request) -> Response:
        return Response(work.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    async def document(request: Request) -> Response:
        return Response(documents[0], media_type=JSON)

    async def docs(request: Request) -> Response:
        return HTMLResponse(documents[1], headers={"content-security-policy": openapi.POLICY})

    routes = [
        *page.routes(artifact.run, settings),
        Route("/predict", predict, methods=["POST"]),
        Route("/predictions/{name}", predictions, methods=["POST"]),
        Route("/invocations", animl, methods=["POST"]),
        Route("/ping", ping),
        Route("/metrics", metrics),
        Route("/openapi.json", document),
        Route("/docs", docs),
    ]
    return Gate(Router(routes, redirect_slashes=False), settings, work.metrics, say)


def _json(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type=JSON)


def _unsupported(wanted: str) -> Refusal:
    return Refusal(415, f"content-type must be {wanted}")
