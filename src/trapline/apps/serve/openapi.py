"""The server's own description (OpenAPI 3.1), and a page of it that needs nothing from elsewhere."""

import html
from typing import Any

from trapline import __version__
from trapline.apps.serve.settings import MOST_BOXES, OPEN_PATHS, Settings
from trapline.formats.artifact import Artifact

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
ERRORS = {
    400: "The request, or its picture, makes no sense.",
    401: "The token is missing or wrong.",
    403: "The request comes from another page, or is for another host.",
    404: "There is no model of that name.",
    408: "The body did not arrive in time.",
    413: "More bytes, or pixels, than allowed.",
    415: "Another content type is wanted.",
    422: "No box could be answered; the body says why.",
    503: "Too much to do: come again after the seconds of Retry-After.",
}
SHARE = {"type": "number", "minimum": 0, "maximum": 1}
FOUR = {"minItems": 4, "maxItems": 4, "items": {"type": "number"}}


def describe(name: str, artifact: Artifact, settings: Settings) -> dict[str, Any]:
    """The document.

    Args:
        name: Of the model, in /predictions/{name}.
    """
    scores = {"type": "object", "additionalProperties": False, "required": list(artifact.labels)}
    scores["properties"] = dict.fromkeys(artifact.labels, SHARE)
    label = {"type": ["string", "null"], "enum": [*artifact.labels, None]}
    several = {"type": "array", "items": {"type": "string", "enum": list(artifact.labels)}}
    box = {"type": "array", **FOUR}
    animl = {
        "type": "object",
        "required": ["image"],
        "properties": {
            "image": {"type": "string", "format": "image-base64", "description": "The file's bytes as base64."},
            "bbox": {
                "description": "[ymin, xmin, ymax, xmax] as fractions, or the text of it. Absent: the whole image.",
                "oneOf": [box, {"type": "string", "format": "animl-box"}, {"type": "null"}],
            },
        },
    }
    form = {
        "type": "object",
        "required": ["image"],
        "properties": {
            "image": {"type": "string", "format": "binary", "description": "A picture's file."},
            "bbox": {
                "type": "array",
                "maxItems": MOST_BOXES,
                "items": {"type": "string", "format": "box"},
                "description": "Each [x, y, w, h] as JSON: fractions of the image as displayed. None: the whole image.",
            },
        },
    }
    found = {
        "type": "object",
        "required": ["image", "boxes"],
        "properties": {
            "image": {
                "type": "object",
                "required": ["width", "height"],
                "properties": {side: {"type": "integer", "minimum": 1} for side in ("width", "height")},
            },
            "boxes": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["bbox"],
                    "properties": {
                        "bbox": box,
                        "scores": {"$ref": "#/components/schemas/Scores"},
                        "answer": several if artifact.multilabel else label,
                        "error": {"type": "string"},
                    },
                },
            },
        },
    }
    answer = _reference("Scores")
    secured: dict[str, Any] = {}
    if settings.token is not None:
        secured = {"security": [{"token": []}]}
    paths = {
        "/predict": _post("Scores of boxes of a picture.", {"multipart/form-data": form}, _reference("Found")),
        f"/predictions/{name}": _post("Animl's request.", {"application/json": animl}, answer),
        "/invocations": _post("The same, for SageMaker.", {"application/json": animl}, answer),
        "/ping": _get("Whether the server is up.", "application/json", {"type": "object"}),
        "/metrics": _get("For Prometheus.", "text/plain", {"type": "string"}),
        "/openapi.json": _get("This document.", "application/json", {"type": "object"}),
        "/docs": _get("This document, for people.", "text/html", {"type": "string"}),
    }
    for path, operations in paths.items():
        for operation in operations.values():
            if settings.token is None or path in OPEN_PATHS:
                operation["responses"].pop("401", None)
            if path in OPEN_PATHS and settings.token is not None:
                operation["security"] = []
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"trapline serve: {artifact.run}",
            "version": __version__,
            "description": f"{artifact.model}: {', '.join(artifact.labels)}.",
        },
        "paths": paths,
        "components": {
            "schemas": {
                "Scores": scores,
                "Found": found,
                "Error": {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}},
            },
            **({"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}} if secured else {}),
        },
        **secured,
    }


def _reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _errors(*statuses: int) -> dict[str, Any]:
    content = {"application/json": {"schema": _reference("Error")}}
    return {str(status): {"description": ERRORS[status], "content": content} for status in statuses}


def _post(summary: str, content: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    operation = {
        "summary": summary,
        "requestBody": {"required": True, "content": {kind: {"schema": schema} for kind, schema in content.items()}},
        "responses": {
            "200": {"description": "Answered.", "content": {"application/json": {"schema": answer}}},
            **_errors(400, 401, 403, 408, 413, 415, 422, 503),
        },
    }
    return {"post": operation}


def _get(summary: str, kind: str, schema: dict[str, Any]) -> dict[str, Any]:
    told = {"description": "As it says.", "content": {kind: {"schema": schema}}}
    return {"get": {"summary": summary, "responses": {"200": told, **_errors(401, 403)}}}


STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:50rem;margin:2rem auto;padding:0 1rem}"
    "code{background:#8882;padding:.1em .3em}td{padding:.2em 1em .2em 0;vertical-align:top}"
    ":root{color-scheme:light dark}"
)


def page(described: dict[str, Any]) -> str:
    """The document as HTML."""
    info = described["info"]
    parts = [f"<h1>{html.escape(info['title'])}</h1><p>{html.escape(info['description'])}</p>"]
    parts.append("<p>All of it, for programs: <a href='/openapi.json'>/openapi.json</a></p>")
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            parts.append(f"<h2><code>{method.upper()} {html.escape(path)}</code></h2><p>{operation['summary']}</p>")
            for kind, content in operation.get("requestBody", {}).get("content", {}).items():
                rows = "".join(
                    f"<tr><td><code>{name}</code></td><td>{html.escape(field.get('description', ''))}</td></tr>"
                    for name, field in content["schema"]["properties"].items()
                )
                parts.append(f"<p>{kind}:</p><table>{rows}</table>")
            answers = "".join(
                f"<tr><td>{status}</td><td>{html.escape(told['description'])}</td></tr>"
                for status, told in operation["responses"].items()
            )
            parts.append(f"<details><summary>answers</summary><table>{answers}</table></details>")
    head = f"<!doctype html><html lang=en><meta charset=utf-8><title>trapline serve</title><style>{STYLE}</style>"
    return head + "<body>" + "".join(parts) + "</body></html>\n"
