"""A process of its own for work that a former process may have died of.

    python -m trapline.engine.apart

Speaks pickle over its standard streams: first the importable folders and what makes the work, then any number of
pieces.
"""

import os
import pickle
import signal
import struct
import subprocess
import sys
from collections.abc import Callable
from typing import IO, Any

import polars as pl

from trapline.core.errors import TraplineError
from trapline.engine.mapping import Outcome, Parcel, Work, attempt

_SIZE = struct.Struct("<Q")


class Died(Exception):
    """The process is gone; says how."""


class Apart:
    """A child process that does pieces of work, one at a time.

    Args:
        make: Makes the work; picklable.
    """

    def __init__(self, make: Callable[[], Work]):
        self._made = pickle.dumps(make)
        self._child: subprocess.Popen | None = None

    def __call__(self, rows: pl.DataFrame) -> Outcome:
        """Do a piece there.

        Raises:
            Died: The child is dead; the next piece gets a new one.
        """
        new = self._child is None
        if self._child is None:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "trapline.engine.apart"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        child = self._child
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            if new:
                _send(child.stdin, (sys.path, self._made))
            _send(child.stdin, Parcel.of(rows))
            return _receive(child.stdout)
        except (EOFError, OSError):
            self._child = None
            raise Died(_how(child.wait())) from None

    def close(self) -> None:
        """End the child."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None


def _how(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {-code}, {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"


def _send(stream: IO[bytes], value: Any) -> None:
    data = pickle.dumps(value)
    stream.write(_SIZE.pack(len(data)))
    stream.write(data)
    stream.flush()


def _receive(stream: IO[bytes]) -> Any:
    head = stream.read(_SIZE.size)
    if len(head) < _SIZE.size:
        raise EOFError
    (size,) = _SIZE.unpack(head)
    data = stream.read(size)
    if len(data) < size:
        raise EOFError
    return pickle.loads(data)


def portable(outcome: Outcome) -> Outcome:
    """The same with an error that can be pickled, whatever it was."""
    if outcome.error is None:
        return outcome
    try:
        pickle.loads(pickle.dumps(outcome.error))
        return outcome
    except Exception:  # an exception of any library, with any constructor
        return Outcome(outcome.rows, TraplineError(f"{type(outcome.error).__name__}: {outcome.error}"))


def main() -> None:
    """Do what is asked for until the parent is gone."""
    asked = sys.stdin.buffer
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get among the answers
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this one
    try:
        folders, made = _receive(asked)
        sys.path[:] = folders
        work = pickle.loads(made)()
        while True:
            _send(answers, portable(attempt(work, _receive(asked).rows())))
    except (EOFError, BrokenPipeError):
        return


if __name__ == "__main__":
    main()
