"""The event loop that all network work runs on, in a thread of its own, and how other threads wait for it."""

import asyncio
import atexit
import threading
from collections.abc import Coroutine
from functools import cache
from typing import Any, TypeVar

_T = TypeVar("_T")


@cache
def loop() -> asyncio.AbstractEventLoop:
    """The event loop that all stores live on, in a thread of its own; begun when first asked for."""
    made = asyncio.new_event_loop()
    thread = threading.Thread(target=made.run_forever, name="trapline-objects", daemon=True)
    thread.start()

    def end() -> None:
        made.call_soon_threadsafe(made.stop)
        thread.join(timeout=5)

    atexit.register(end)
    return made


def run(work: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine on the loop and wait for it; cancelled where the waiting is interrupted."""
    future = asyncio.run_coroutine_threadsafe(work, loop())
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise
