"""What is done: stage records, the parts of map stages, fingerprints, and the lock.

One mechanism serves up to date, resume, partial change and scale. A whole-frame stage is done when its record names
the fingerprint of its inputs. A row of a map stage is done when a committed part holds it under its fingerprint.
Outputs are written first and the record last, so that a kill between them costs time, never truth.
"""

import fcntl
import hashlib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import msgspec
import polars as pl

from trapline.core.errors import LockHeld
from trapline.io import atomic, places, tables
from trapline.io.places import Place

FINGERPRINT = "_fingerprint"
PARTS = "part-*.parquet"
MAX_PARTS = 32  # more than this are merged once a stage is complete
MERGED_ROWS = 200_000


def fingerprint(value: object) -> str:
    """A short stable digest of anything JSON can hold; equal values give equal digests."""
    return hashlib.blake2b(msgspec.json.encode(value, order="sorted"), digest_size=12).hexdigest()


def file_digest(path: Path) -> str:
    """Digest of a file's bytes; "missing" where there is none."""
    try:
        with open(path, "rb") as stream:
            return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=12)).hexdigest()
    except FileNotFoundError:
        return "missing"


class Record(msgspec.Struct, kw_only=True):
    """How a stage's present outputs were made."""

    stage: str
    version: int
    inputs: dict[str, str]
    config: dict[str, object]
    overrides: dict[str, object] = msgspec.field(default_factory=dict)
    base: dict[str, object] = msgspec.field(default_factory=dict)
    outputs: dict[str, str] = msgspec.field(default_factory=dict)
    accounts: list[str] = msgspec.field(default_factory=list)
    warnings: list[str] = msgspec.field(default_factory=list)
    facts: dict[str, object] = msgspec.field(default_factory=dict)
    seconds: float = 0.0
    made_at: str = ""


@dataclass(frozen=True)
class Records:
    """The records of a project, one JSON file per stage."""

    folder: Path

    def read(self, stage: str) -> Record | None:
        """The stage's record, or None where it was never finished (or its record is unreadable)."""
        try:
            return msgspec.json.decode((self.folder / f"{stage}.json").read_bytes(), type=Record)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def write(self, record: Record) -> None:
        """Commit a stage: from here on it is up to date."""
        record.made_at = datetime.now(UTC).isoformat(timespec="seconds")
        data = msgspec.json.format(msgspec.json.encode(record), indent=2)
        atomic.replace(self.folder / f"{record.stage}.json", lambda stream: stream.write(data))

    def forget(self, stage: str) -> None:
        """Drop a record, before its outputs are rewritten."""
        (self.folder / f"{stage}.json").unlink(missing_ok=True)


@dataclass(frozen=True)
class Parts:
    """Committed parts of one map stage: Parquet files whose rows carry the fingerprint of the input row.

    They lie in a folder, or in another place (io/places.py); `beside` is then a folder of this disk for what concerns
    this machine's processes alone.

    `missing_ok` of a torn or foreign file: a part that cannot be read is treated as not done.
    """

    folder: Path | Place
    beside: Path | None = None
    unreadable: list[str] = field(default_factory=list)

    def read(self, wanted: pl.DataFrame | None = None) -> pl.DataFrame | None:
        """Committed rows of all parts, or None where there are none.

        Args:
            wanted: Key and fingerprint of the rows that count; others are left out. Parts made under other settings
                may have other columns, so it is needed wherever settings can change.
        """
        frames = []
        for name, part in self._frames():
            try:
                frame = part if part is None or wanted is None else part.join(wanted, on=wanted.columns, how="semi")
            except pl.exceptions.PolarsError:
                frame = None
            if frame is None:
                self.unreadable.append(name)
                continue
            if wanted is None or frame.height:
                frames.append(frame)
        return pl.concat(frames, how="vertical") if frames else None

    def commit(self, frame: pl.DataFrame) -> None:
        """Add one finished part, whole; named by its content, so that a repeat is the same file."""
        self._save(frame)

    def forget(self, which: pl.Expr) -> int:
        """Drop committed rows, so that they run again. Returns how many."""
        dropped = 0
        for name, frame in self._frames():
            if frame is None:
                continue  # is not done anyway
            try:
                kept = frame.filter(~which)
            except pl.exceptions.PolarsError:
                continue
            if kept.height < frame.height:
                dropped += frame.height - kept.height
                if kept.height:
                    self.commit(kept)
                self._place.remove(name)
        return dropped

    def settle(self, frame: pl.DataFrame) -> None:
        """Leave exactly the rows of `frame`: drop rows that are out of date and merge small parts.

        Called once a stage is complete. The merged parts are written before the old ones go.
        """
        old = set(self._place.names(PARTS))
        if len(old) <= MAX_PARTS and sum(self._height(name) for name in old) == frame.height:
            return
        before = set(old)
        for start in range(0, max(frame.height, 1), MERGED_ROWS):
            piece = frame.slice(start, MERGED_ROWS)
            if piece.height:
                old.discard(self._save(piece))
        for name in old & before:
            self._place.remove(name)

    @property
    def _place(self) -> Place:
        return places.of(self.folder)

    def _save(self, frame: pl.DataFrame) -> str:
        """Write a part; returns its name."""
        name = f"part-{fingerprint(frame[FINGERPRINT].unique().sort().to_list())}.parquet"
        self._place.write(name, tables.as_bytes(frame), sync=True)
        return name

    def _frames(self) -> Iterator[tuple[str, pl.DataFrame | None]]:
        """Every part by name; None for one that cannot be read. Those of another machine are fetched ahead."""
        names, place = self._place.names(PARTS), self._place
        if place.folder is not None:
            for name in names:
                yield name, _read(place.folder / name)
            return
        for name, data in places.read_all(place, names):
            yield name, None if data is None else _read(BytesIO(data))

    def _height(self, name: str) -> int:
        source = self._place.source(name)
        try:
            content = source if isinstance(source, Path) else BytesIO(source.read_bytes())
            return pl.scan_parquet(content).select(pl.len()).collect().item()
        except (pl.exceptions.PolarsError, OSError):
            return -1


def _read(content: Path | BytesIO) -> pl.DataFrame | None:
    try:
        return pl.read_parquet(content)
    except (pl.exceptions.PolarsError, OSError):
        return None


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Keep a second trapline out of the project while this one works. Freed by the system when the process ends.

    Raises:
        LockHeld: Another process holds it; names its process id and machine.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = open(path, "a+")  # noqa: SIM115 (entered below, once it is known to open)
    except OSError as error:
        raise atomic.disk_error(error, path) from error
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            holder = stream.read().strip() or "another process"
            raise LockHeld(
                f"another trapline is at work in {path.parent.parent} ({holder}). Wait for it to end, or stop it."
            ) from None
        stream.seek(0)
        stream.truncate()
        stream.write(f"process {os.getpid()} on {socket.gethostname()}")
        stream.flush()
        yield
