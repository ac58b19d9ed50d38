"""How a server is set up, and what it refuses to be."""

import ipaddress
from dataclasses import dataclass

from trapline.apps.web import HOSTS, LOOPBACK
from trapline.core.errors import InputError

LEAST_TOKEN = 16  # characters
OPEN_PATHS = ("/", "/ping", "/docs", "/openapi.json")  # without the token; they tell nothing of the pictures
OPEN_BELOW = "/page/"
MOST_BOXES = 200  # of one request


@dataclass(frozen=True)
class Settings:
    """Limits of a server.

    Args:
        host, port: Where it listens.
        token: What a request must show (Authorization: Bearer); None on this machine's own address only.
        batch_size: Most boxes that are computed together.
        batch_wait_s: How long a box waits for others.
        queue: Most requests that are in progress; more are told to come again.
        max_bytes: Of a request's body.
        max_pixels: Of a photograph.
        timeout_s: For a request's body to come, and again for its answer.
    """

    host: str = LOOPBACK
    port: int = 8080
    token: str | None = None
    batch_size: int = 16
    batch_wait_s: float = 0.005
    queue: int = 64
    max_bytes: int = 32_000_000
    max_pixels: int = 64_000_000
    timeout_s: float = 30.0

    def __post_init__(self) -> None:
        least = {"batch_size": 1, "batch_wait_s": 0, "queue": 1, "max_bytes": 1, "max_pixels": 1, "timeout_s": 0.001}
        problems = [
            f"--{name.removesuffix('_s').replace('_', '-')} must be at least {low:g}"
            for name, low in least.items()
            if not getattr(self, name) >= low
        ]
        if problems:
            raise InputError("bad options:", problems)
        if self.token is not None and (len(self.token) < LEAST_TOKEN or not self.token.isascii()):
            raise InputError(f"the token is too short or not ASCII: at least {LEAST_TOKEN} characters. {HOW}")
        if self.token is None and not self.loopback:
            raise InputError(
                f"--host {self.host} can be reached from other machines: requests must show a token then. {HOW}"
            )

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host in HOSTS:
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


HOW = "Write one into a file, `openssl rand -hex 24 > token`, and give --token-file token; or set TRAPLINE_TOKEN."
