"""The command that serves a classifier over HTTP."""

import os
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from trapline.core.errors import InputError
from trapline.io.console import ConsoleLog

TOKEN = "TRAPLINE_TOKEN"


def serve(
    *,
    run: str | None = None,
    model: Path | None = None,
    project: Annotated[Path, Parameter(name=["--project", "-p"], help="The project's folder.")] = Path("."),
    host: str = "127.0.0.1",
    port: int = 8080,
    token_file: Path | None = None,
    batch_size: int = 16,
    batch_wait: float = 5.0,
    queue: int = 64,
    max_bytes: int = 32_000_000,
    max_pixels: int = 64_000_000,
    timeout: float = 30.0,
) -> None:
    """Answer pictures and boxes over HTTP with a classifier's calibrated scores. docs/serve.md says how to ask.

    Args:
        run: A run of the project, a run's folder, or a checkpoint's file. Default: the newest finished run.
        model: A model.onnx or model.pt that `trapline export` wrote, instead of a run. ONNX needs no torch.
        host: The address to listen at. Any but this machine's own needs a token.
        port: 0 takes any free one.
        token_file: A file with the token that requests must show (Authorization: Bearer). Default: the variable
            TRAPLINE_TOKEN, if set.
        batch_size: Most boxes that are computed together.
        batch_wait: Milliseconds that a box waits for others.
        queue: Most requests in progress; more get 503 and Retry-After.
        max_bytes: Of a request.
        max_pixels: Of a picture.
        timeout: Seconds for a request to arrive, and for its answer.
    """
    if run is not None and model is not None:
        raise InputError("--run and --model both name a classifier: give one of them.")
    from trapline.apps.serve.opening import open_model
    from trapline.apps.serve.running import serve as run_server
    from trapline.apps.serve.settings import Settings

    settings = Settings(
        host=host, port=port, token=_token(token_file), batch_size=batch_size, batch_wait_s=batch_wait / 1000,
        queue=queue, max_bytes=max_bytes, max_pixels=max_pixels, timeout_s=timeout,
    )  # fmt: skip
    log = ConsoleLog()
    run_server(open_model(model, run, project=project, log=log), settings, log=log)


def _token(path: Path | None) -> str | None:
    if path is None:
        return os.environ.get(TOKEN) or None
    try:
        found = path.read_text().strip()
    except (OSError, UnicodeError) as error:
        raise InputError(f"--token-file {path} cannot be read ({getattr(error, 'strerror', None) or error}).") from None
    if not found:
        raise InputError(f"--token-file {path} is empty.")
    return found
