"""The event loop that all network work runs on, in a thread of its own, and how other threads wait for it."""

import asyncio
import atexit
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")
_made: list[asyncio.AbstractEventLoop] = []
_making = threading.Lock()


def loop() -> asyncio.AbstractEventLoop:
    """The one loop; begun when it is first asked for."""
    with _making:
        if not _made:
            _made.append(_begin())
        return _made[0]


def _begin() -> asyncio.AbstractEventLoop:
    made = asyncio.new_event_loop()
    thread = threading.Thread(target=made.run_forever, name="trapline-objects", daemon=True)
    thread.start()

    async def cancel_all() -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        made.stop()

    def end() -> None:
        asyncio.run_coroutine_threadsafe(cancel_all(), made)
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
