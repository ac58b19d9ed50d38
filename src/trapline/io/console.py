"""What stages say, on a terminal: rich bars where there is one, plain lines where there is not."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from trapline.core.log import Advance, Log

PLAIN_EVERY_S = 10.0


class ConsoleLog(Log):
    """Shows notes at once and progress live."""

    def __init__(self, console: Console | None = None):
        super().__init__()
        self.console = console or Console(stderr=False, highlight=False, soft_wrap=True)

    def show(self, line: str) -> None:
        self.console.print(f"  {line}", markup=False)

    def stage(self, name: str, state: str) -> None:
        self.console.print(f"[bold]{name:9}[/bold] [dim]{escape(state)}[/dim]".rstrip())

    @contextmanager
    def progress(self, what: str, total: int, unit: str = "") -> Iterator[Advance]:
        bar = self._live(what, total) if self.console.is_terminal else self._plain(what, total, unit)
        with bar as advance:
            yield advance

    @contextmanager
    def _live(self, what: str, total: int) -> Iterator[Advance]:
        columns = (
            TextColumn("  {task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}", markup=False),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[info]}", markup=False),
        )
        with Progress(*columns, console=self.console, transient=True) as bar:
            task = bar.add_task(what, total=total, info="", rate="")
            begin, done = time.monotonic(), 0

            def advance(n: int = 1, info: str = "") -> None:
                nonlocal done
                done += n
                rate = done / max(time.monotonic() - begin, 1e-3)
                bar.update(task, advance=n, info=info, rate=f"{rate:,.0f}/s")

            yield advance

    @contextmanager
    def _plain(self, what: str, total: int, unit: str) -> Iterator[Advance]:
        begin = shown = time.monotonic()
        done = 0

        def advance(n: int = 1, info: str = "") -> None:
            nonlocal shown, done
            done += n
            now = time.monotonic()
            if now - shown >= PLAIN_EVERY_S and done < total:
                shown = now
                rate = done / (now - begin)
                left = (total - done) / max(rate, 1e-9)
                unit_text = f" {unit}" if unit else ""
                self.show(
                    f"{what}: {done:,} of {total:,}, {rate:,.1f}{unit_text}/s, {_clock(left)} left {info}".rstrip()
                )
                sys.stdout.flush()

        yield advance


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
