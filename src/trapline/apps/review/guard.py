"""Who may ask: only a page that was opened with the token, from this machine's own address."""

import secrets
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from trapline.apps.web import HOSTS, SAFE, host_name, same

HEADER = "x-trapline-token"
MAX_BODY = 200_000
Next = Callable[[Request], Awaitable[Response]]


class Guard:
    """Checks every request before it is looked at.

    `token` stands in the address that is printed; the page gets it as a cookie (strict, not for scripts), and `key`
    in itself, which a request that changes something must send as a header: another site can do neither.
    """

    def __init__(self, port: int):
        self.token = secrets.token_urlsafe(24)
        self.key = secrets.token_urlsafe(24)
        self.cookie = f"trapline_review_{port}"

    async def __call__(self, request: Request, call_next: Next) -> Response:
        refusal = self.refusal(request)
        response = PlainTextResponse(refusal, 403) if refusal else await call_next(request)
        for name, value in SAFE.items():
            response.headers[name] = value
        if "cache-control" not in response.headers:
            response.headers["cache-control"] = "no-store"
        return response

    def refusal(self, request: Request) -> str | None:
        """Why a request is refused, or None."""
        host = request.headers.get("host", "")
        if host_name(host) not in HOSTS:
            return "refused: this page answers to 127.0.0.1 and localhost only."
        origin = request.headers.get("origin")
        if origin is not None and origin != f"http://{host}":
            return "refused: the request comes from another page."
        opened = request.url.path == "/" and same(request.query_params.get("token"), self.token)
        if not opened and request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return "refused: the request comes from another page."
        if not opened and not same(request.cookies.get(self.cookie), self.token):
            return "refused: open the whole address that `trapline review` printed, with its token."
        if request.method not in ("GET", "HEAD"):
            if origin is None or not same(request.headers.get(HEADER), self.key):
                return "refused: the request does not come from the page."
            if request.headers.get("content-type", "").partition(";")[0] != "application/json":
                return "refused: only JSON."
            if not request.headers.get("content-length", "").isdigit():
                return "refused: a request states its length."
            if int(request.headers["content-length"]) > MAX_BODY:
                return "refused: too large."
        return None

    def admit(self, response: Response) -> Response:
        """Give the page its cookie."""
        response.set_cookie(self.cookie, self.token, httponly=True, samesite="strict", path="/")
        return response
