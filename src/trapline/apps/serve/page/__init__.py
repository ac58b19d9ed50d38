"""The page at `/`: a person drops a photograph, draws boxes, and sees the answers. It asks POST /predict."""

import html
from collections.abc import Callable
from pathlib import Path
from string import Template

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from trapline.apps.serve.settings import MOST_BOXES, OPEN_BELOW, Settings

HERE = Path(__file__).parent
FILES = {"page.css": "text/css", "page.js": "text/javascript", "icon.svg": "image/svg+xml"}


def routes(run: str, settings: Settings) -> list[Route]:
    """The page's routes.

    Args:
        run: What the page calls the classifier.
    """
    told = {
        "run": run,
        "token": "yes" if settings.token is not None else "no",
        "bytes": str(settings.max_bytes),
        "boxes": str(MOST_BOXES),
    }
    text = Template((HERE / "page.html").read_text("utf-8"))
    content = text.substitute({name: html.escape(value) for name, value in told.items()})

    def page(request: Request) -> Response:
        return HTMLResponse(content, headers={"cache-control": "no-cache"})

    return [Route("/", page), *(Route(OPEN_BELOW + name, _file(name, kind)) for name, kind in FILES.items())]


def _file(name: str, kind: str) -> Callable[[Request], Response]:
    data = (HERE / name).read_bytes()
    return lambda request: Response(data, media_type=kind, headers={"cache-control": "no-cache"})
