"""A request that is not answered, and why."""

from collections.abc import Mapping


class Refusal(Exception):
    """A request that is refused; `str()` says why, without any of its content.

    Args:
        status: Of the response, 400 to 599.
        headers: Of the response.
    """

    def __init__(self, status: int, why: str, headers: Mapping[str, str] | None = None):
        super().__init__(why)
        self.status, self.headers = status, dict(headers or {})


def busy(why: str) -> Refusal:
    """Come again."""
    return Refusal(503, why, {"retry-after": "1"})
