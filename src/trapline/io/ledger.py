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
from pathlib import Path

import msgspec
import polars as pl

from trapline.core.errors import LockHeld, TraplineError
from trapline.io import atomic, tables

FINGERPRINT = "_fingerprint"
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

    `missing_ok` of a torn or foreign file: a part that cannot be read is treated as not done.
    """

    folder: Path
    unreadable: list[str] = field(default_factory=list)

    def read(self, wanted: pl.DataFrame | None = None) -> pl.DataFrame | None:
        """Committed rows of all parts, or None where there are none.

        Args:
            wanted: Key and fingerprint of the rows that count; others are left out. Parts made under other settings
                may have other columns, so it is needed wherever settings can change.
        """
        frames = []
        for path in sorted(self.folder.glob("part-*.parquet")):
            try:
                frame = tables.read(path)
                if wanted is not None:
                    frame = frame.join(wanted, on=wanted.columns, how="semi")
            except (TraplineError, pl.exceptions.PolarsError):
                self.unreadable.append(path.name)
                continue
            if wanted is None or frame.height:
                frames.append(frame)
        return pl.concat(frames, how="vertical") if frames else None

    def commit(self, frame: pl.DataFrame) -> None:
        """Add one finished part, whole; named by its content, so that a repeat is the same file."""
        name = fingerprint(frame[FINGERPRINT].unique().sort().to_list())
        tables.save(self.folder / f"part-{name}.parquet", frame)

    def forget(self, which: pl.Expr) -> int:
        """Drop committed rows, so that they run again. Returns how many."""
        dropped = 0
        for path in sorted(self.folder.glob("part-*.parquet")):
            try:
                frame = tables.read(path)
                kept = frame.filter(~which)
            except (TraplineError, pl.exceptions.PolarsError):
                continue  # is not done anyway
            if kept.height < frame.height:
                dropped += frame.height - kept.height
                if kept.height:
                    self.commit(kept)
                path.unlink()
        return dropped

    def settle(self, frame: pl.DataFrame) -> None:
        """Leave exactly the rows of `frame`: drop rows that are out of date and merge small parts.

        Called once a stage is complete. The merged parts are written before the old ones go.
        """
        old = set(self.folder.glob("part-*.parquet"))
        if len(old) <= MAX_PARTS and sum(_height(path) for path in old) == frame.height:
            return
        before = set(old)
        for start in range(0, max(frame.height, 1), MERGED_ROWS):
            piece = frame.slice(start, MERGED_ROWS)
            if piece.height:
                name = fingerprint(piece[FINGERPRINT].unique().sort().to_list())
                path = self.folder / f"part-{name}.parquet"
                tables.save(path, piece)
                old.discard(path)
        for path in old & before:
            path.unlink(missing_ok=True)


def _height(path: Path) -> int:
    try:
        return pl.scan_parquet(path).select(pl.len()).collect().item()
    except (pl.exceptions.PolarsError, OSError):
        return -1


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
