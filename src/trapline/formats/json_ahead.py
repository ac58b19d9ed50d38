"""Pieces of a long JSON array, decoded in other processes before their turn.

Decoding makes Python objects, which one process does on one core. A file of some hundred megabytes is worth starting
others for: each is told where a piece begins and ends, reads, decodes and reduces it to a frame, and sends that back.

Where elements end is guessed as json_stream.py does: behind a `},`. A piece that decodes began and ended between two
elements; the first that does not (the array ends in it, the guess was wrong, a value is not of its type, the process
died) ends the work, and the caller goes on from there by itself, which finds out what is the matter.

The others are started as plain commands, so that neither a script without a main guard nor a notebook is run again.
"""

import io
import os
import pickle
import queue
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import msgspec
import polars as pl

from trapline.core.cores import usable_cores

PIECE = 2 * 2**20
MOST_WORKERS = 4
LEAST_BYTES = 64 * 2**20  # left in the file: below, starting processes takes longer than they save
_TAIL = 64 * 2**10  # of a piece, where the end of an element is looked for
_COMMAND = (sys.executable, "-P", "-c", "from trapline.formats.json_ahead import work; work()")

Makes = Mapping[str, Callable[[list[Any]], pl.DataFrame]]


class Ahead:
    """Processes that decode pieces of a file; started when the first array is long enough, ended by `close`.

    Args:
        path: The file.
        arrays: Decoders of lists, by top-level key.
        makes: For the same keys, what makes a frame of elements: functions of a module.
        workers: Processes. Default: as many as this process may use cores, at most MOST_WORKERS; 1 means none.
        piece: Bytes of a piece.
        least: Bytes that must be left in the file.
    """

    def __init__(
        self,
        path: Path,
        arrays: Mapping[str, msgspec.json.Decoder[list[Any]]],
        makes: Makes,
        *,
        workers: int | None = None,
        piece: int = PIECE,
        least: int = LEAST_BYTES,
    ):
        self._path, self._piece, self._least = path, piece, least
        self._workers = min(usable_cores(), MOST_WORKERS) if workers is None else workers
        self._jobs = pickle.dumps({key: (arrays[key].type, make) for key, make in makes.items()})
        self._keys = frozenset(makes)
        self._processes: list[subprocess.Popen[bytes]] = []
        self._idle: queue.SimpleQueue[subprocess.Popen[bytes]] = queue.SimpleQueue()

    def frames(self, key: str, begin: int) -> Iterator[tuple[pl.DataFrame, int, int]]:
        """Yield (frame, elements, where the next element begins) of pieces of the array `key`, in order.

        Ends where a piece cannot be decoded, or the rest is shorter than a piece.

        Args:
            begin: Where in the file an element of the array begins.
        """
        size = self._path.stat().st_size
        if key not in self._keys or self._workers < 2 or size - begin < self._least or not self._start():
            return
        waiting: deque[Future[tuple[pl.DataFrame, int, int] | None]] = deque()
        pieces = self._pieces(begin, size)
        with ThreadPoolExecutor(self._workers) as pool:
            for place in pieces:
                waiting.append(pool.submit(self._decode, key, *place))
                if len(waiting) < 3 * self._workers:
                    continue
                if (done := waiting.popleft().result()) is None:
                    break
                yield done
            else:
                while waiting and (done := waiting.popleft().result()) is not None:
                    yield done
            pool.shutdown(cancel_futures=True)

    def close(self) -> None:
        """End the processes."""
        for process in self._processes:
            process.kill()
            process.communicate()
        self._processes = []

    def _pieces(self, begin: int, size: int) -> Iterator[tuple[int, int]]:
        """Where pieces begin and end: up to the last `}` before a comma."""
        with open(self._path, "rb") as stream:
            while begin + self._piece < size:
                tail = max(begin, begin + self._piece - _TAIL)
                stream.seek(tail)
                found = stream.read(begin + self._piece - tail).rfind(b"},")
                if found < 0:
                    return
                yield begin, tail + found + 1
                begin = tail + found + 2

    def _start(self) -> bool:
        """Start the processes, if they are not there; False where the system refuses."""
        while len(self._processes) < self._workers:
            try:
                process = subprocess.Popen(
                    _COMMAND,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    env={**os.environ, "POLARS_MAX_THREADS": "1"},
                    start_new_session=True,  # Ctrl-C is for us; they end when their input does
                )
            except (OSError, ValueError):
                return False
            self._processes.append(process)
            try:
                _send(process.stdin, self._jobs)
            except OSError:
                return False
            self._idle.put(process)
        return True

    def _decode(self, key: str, begin: int, end: int) -> tuple[pl.DataFrame, int, int] | None:
        """The frame of one piece, from a process that has nothing to do; None where there is none."""
        process = self._idle.get()
        try:
            _send(process.stdin, pickle.dumps((key, os.fspath(self._path), begin, end)))
            answer = _receive(process.stdout)
        except OSError:
            answer = b""
        finally:
            self._idle.put(process)
        if not answer:
            return None
        return pl.read_ipc(answer[8:]), int.from_bytes(answer[:8]), end + 1


def work() -> None:
    """What a process does: takes pieces from its input and sends frames, until the input ends."""
    given, taken = sys.stdin.buffer, sys.stdout.buffer
    jobs = pickle.loads(_receive(given))
    decoders = {key: msgspec.json.Decoder(type) for key, (type, _) in jobs.items()}
    while request := _receive(given):
        key, path, begin, end = pickle.loads(request)
        try:
            with open(path, "rb") as stream:
                stream.seek(begin)
                text = stream.read(end - begin)
            elements = decoders[key].decode(b"".join((b"[", text, b"]")))
            memory = io.BytesIO()
            jobs[key][1](elements).write_ipc(memory)
        except Exception:
            _send(taken, b"")
        else:
            _send(taken, len(elements).to_bytes(8) + memory.getvalue())


def _send(stream: IO[bytes] | None, message: bytes) -> None:
    assert stream is not None
    stream.write(len(message).to_bytes(8) + message)
    stream.flush()


def _receive(stream: IO[bytes] | None) -> bytes:
    """A message; nothing where the other end is gone."""
    assert stream is not None
    size = int.from_bytes(stream.read(8))
    message = stream.read(size)
    return message if len(message) == size else b""
