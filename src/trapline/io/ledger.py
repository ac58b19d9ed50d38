"""What is done: stage records, the parts of map stages, fingerprints, and the lock.

One mechanism serves up to date, resume, partial change and scale. A whole-frame stage is done when its record names
the fingerprint of its inputs. A row of a map stage is done when a committed part holds it under its fingerprint.
Outputs are written first and the record last, so that a kill between them costs time, never truth.
"""

import fcntl
import hashlib
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import Any

import msgspec
import polars as pl

from trapline.core.errors import LockHeld
from trapline.io import atomic, places, tables
from trapline.io.places import Place

FINGERPRINT = "_fingerprint"
PARTS = "part-*.parquet"
_PART = "_part"
MAX_PARTS = 32  # more than this are merged once a stage is complete
MERGED_ROWS = 200_000
GATHERED = 256  # parts that one process committed are merged while others follow: few files, at any number of rows
AT_A_TIME = 100_000  # rows that are Python objects, or copied, at a time


def fingerprint(value: object) -> str:
    """A short stable digest of anything JSON can hold; equal values give equal digests."""
    return hashlib.blake2b(msgspec.json.encode(value, order="sorted"), digest_size=12).hexdigest()


def row_texts(frame: pl.DataFrame, say: Callable[[dict[str, Any]], str]) -> pl.Series:
    """A text of each row by name, of which a few at a time are in memory as objects."""
    found = pl.Series([], dtype=pl.String)
    for piece in frame.iter_slices(AT_A_TIME):
        found.append(pl.Series([say(row) for row in piece.iter_rows(named=True)], dtype=pl.String))
    return found


def fingerprint_rows(frame: pl.DataFrame) -> str:
    """`fingerprint` of a frame's rows, of which a few at a time are in memory as objects."""
    digest, encoder = hashlib.blake2b(b"[", digest_size=12), msgspec.json.Encoder(order="sorted")
    for number, piece in enumerate(frame.iter_slices(AT_A_TIME)):
        digest.update((b"," if number else b"") + encoder.encode(piece.rows())[1:-1])
    digest.update(b"]")
    return digest.hexdigest()


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

    A part that cannot be read, torn or foreign, is treated as not done.
    """

    folder: Path | Place
    beside: Path | None = None
    _recent: dict[str, pl.DataFrame] = field(default_factory=dict, repr=False, compare=False)
    _lock: Lock = field(default_factory=Lock, repr=False, compare=False)

    def read(self, wanted: pl.DataFrame | None = None) -> pl.DataFrame | None:
        """Committed rows of all parts, or None where there are none.

        Args:
            wanted: Key and fingerprint of the rows that count; others are left out. Parts made under other settings
                may have other columns, so it is needed wherever settings can change.
        """
        found, alike, many, schema = [], [], 0, None
        for number, (_, part) in enumerate(self._frames()):
            if part is None:
                continue
            if alike and (many >= AT_A_TIME or part.schema != schema):
                found += _wanted(alike, wanted)
                alike, many = [], 0
            schema = part.schema
            alike.append(part.with_columns(pl.lit(number, pl.UInt32).alias(_PART)))
            many += part.height
        found += _wanted(alike, wanted)
        if not found:
            return None
        table = pl.concat(found, how="vertical", rechunk=False)
        twice = _in_two_parts(table)
        table = table.drop(_PART)
        return table.unique(maintain_order=True) if twice else table

    def commit(self, frame: pl.DataFrame) -> None:
        """Add one finished part, whole; named by its content, so that a repeat is the same file. Of many, those of
        a while are merged; the merged part is written before they go. For any number of threads at a time."""
        name = self._save(frame)
        with self._lock:
            if self._recent and next(iter(self._recent.values())).schema != frame.schema:
                self._recent.clear()
            self._recent[name] = frame
            if len(self._recent) < GATHERED:
                return
            gathered = dict(self._recent)
            self._recent.clear()
        merged = self._save(pl.concat(gathered.values(), how="vertical"))
        for name in gathered:
            if name != merged:
                self._place.remove(name)

    def forget(self, which: pl.Expr) -> int:
        """Drop committed rows, so that they run again. Returns how many."""
        dropped = 0
        self._recent.clear()
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
                    self._save(kept)
                self._place.remove(name)
        return dropped

    def settle(self, frame: pl.DataFrame) -> None:
        """Leave exactly the rows of `frame`: drop rows that are out of date and merge small parts.

        Called once a stage is complete. The merged parts are written before the old ones go.
        """
        self._recent.clear()
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


def _wanted(parts: list[pl.DataFrame], wanted: pl.DataFrame | None) -> list[pl.DataFrame]:
    """What is wanted of parts of one schema, as one frame or none; nothing of those that cannot hold it."""
    if not parts:
        return []
    whole = pl.concat(parts, how="vertical")
    try:
        some = whole if wanted is None else whole.join(wanted, on=wanted.columns, how="semi")
    except pl.exceptions.PolarsError:
        return []
    return [some] if some.height or wanted is None else []


def _in_two_parts(table: pl.DataFrame) -> bool:
    """Whether the outputs of a row were committed twice: a merge was broken off before the merged parts were gone."""
    rows = table[FINGERPRINT].hash()
    return (rows + table[_PART].hash(1)).n_unique() > rows.n_unique()


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
