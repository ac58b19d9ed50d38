"""Weights that timm takes from the Hugging Face hub: at once from the cache where there is no network."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from huggingface_hub import constants

PATIENCE_S = 5.0


def reachable() -> bool:
    """Whether the hub's machine answers. A proxy is taken at its word: only a real request would tell."""
    if any(os.environ.get(name) for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")):
        return True
    address = urlsplit(constants.ENDPOINT)
    port = address.port or (80 if address.scheme == "http" else 443)
    try:
        with socket.create_connection((address.hostname or "", port), timeout=PATIENCE_S):
            return True
    except OSError:
        return False


@contextmanager
def offline_if_unreachable() -> Iterator[None]:
    """Let the hub's client look only into its cache where there is no network.

    Without this it repeats every request five times, with a warning each: 50 seconds before the error.
    """
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not reachable()
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
