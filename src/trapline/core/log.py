"""What a stage tells its user while it works: accounts of rows, notes, warnings, progress.

Stages receive a `Log` and speak to it; they never print. The base class keeps what was said (tests and the ledger
read it) and shows nothing; the terminal's version is `trapline.io.console.ConsoleLog`.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True)
class Account:
    """Rows in = rows out + rows left out, by reason. Never a silent drop.

    Args:
        source: What came in, as a plural noun ("annotations").
        rows_in: How many came in.
        result: What came out, as a plural noun ("boxes").
        rows_out: How many came out.
        left_out: Reason -> number of rows left out for it; zero counts are dropped.
    """

    source: str
    rows_in: int
    result: str
    rows_out: int
    left_out: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "left_out", {reason: n for reason, n in self.left_out.items() if n})
        lost = self.rows_in - self.rows_out - sum(self.left_out.values())
        if lost:
            raise AssertionError(f"{lost} {self.source} unaccounted for: {self}")

    def __str__(self) -> str:
        line = f"{self.rows_in:,} {self.source} -> {self.rows_out:,} {self.result}"
        if self.left_out:
            line += "; left out " + ", ".join(f"{n:,} {reason}" for reason, n in self.left_out.items())
        return line


class Advance(Protocol):
    """Moves a progress bar by `n` units; `info` is a short live figure such as a loss."""

    def __call__(self, n: int = 1, info: str = "") -> None: ...


class Log:
    """Keeps what stages say. Shows nothing."""

    def __init__(self) -> None:
        self.accounts: list[Account] = []
        self.notes: list[str] = []
        self.warnings: list[str] = []

    def stage(self, name: str, state: str) -> None:
        """A stage begins, or is left alone; `state` says why."""
        self.show(f"{name}: {state}" if state else name)

    def account(
        self, source: str, rows_in: int, result: str, rows_out: int, left_out: Mapping[str, int] | None = None
    ) -> None:
        """Record one balance of rows; raises AssertionError when it does not balance."""
        account = Account(source, rows_in, result, rows_out, left_out or {})
        self.accounts.append(account)
        self.show(str(account))

    def note(self, text: str) -> None:
        """A fact worth a line."""
        self.notes.append(text)
        self.show(text)

    def warn(self, text: str) -> None:
        """Something a person should look at; kept in the stage's record and shown again by `status`."""
        self.warnings.append(text)
        self.show(f"warning: {text}")

    def show(self, line: str) -> None:
        """Print one line. The base class does not."""

    @contextmanager
    def progress(self, what: str, total: int, unit: str = "") -> Iterator[Advance]:
        """A progress bar for `total` units; yields the function that moves it."""

        def advance(n: int = 1, info: str = "") -> None:
            del n, info

        yield advance
