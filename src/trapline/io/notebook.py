"""What stages say, in a notebook: lines as they come, and one bar that moves in place."""

import html
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from trapline.core.log import Advance, Log

EVERY_S = 0.3


def in_notebook() -> bool:
    """Whether this Python is a notebook's kernel."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return type(shell).__name__ == "ZMQInteractiveShell"


class NotebookLog(Log):
    """Prints what is said, and shows progress as a bar with rate and time left, which goes when it is done."""

    def show(self, line: str) -> None:
        print(f"  {line}")  # noqa: T201 (a notebook's way of showing a line)

    def stage(self, name: str, state: str) -> None:
        print(f"{name:9} {state}".rstrip())  # noqa: T201

    @contextmanager
    def progress(self, what: str, total: int, unit: str = "") -> Iterator[Advance]:
        from IPython.display import HTML, display

        begin, shown, done = time.monotonic(), 0.0, 0
        handle: Any = display(HTML(bar(what, 0, total, 0.0, "")), display_id=True)

        def advance(n: int = 1, info: str = "") -> None:
            nonlocal shown, done
            done += n
            now = time.monotonic()
            if now - shown >= EVERY_S:
                shown = now
                handle.update(HTML(bar(what, done, total, now - begin, info)))

        try:
            yield advance
        finally:
            handle.update(HTML(""))


def bar(what: str, done: int, total: int, seconds: float, info: str) -> str:
    """A bar as HTML: what is done, how much of it, rate, time left."""
    rate = done / seconds if seconds else 0.0
    left = f", {(total - done) / rate:,.0f} s left" if rate else ""
    text = f"{what}: {done:,} of {total:,}" + (f", {rate:,.1f}/s{left}" if rate else "") + (f" {info}" if info else "")
    return f'<progress value="{done}" max="{max(total, 1)}"></progress> {html.escape(text)}'
