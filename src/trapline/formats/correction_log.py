"""Decisions appended to a corrections.csv, by several processes at once; each is on disk before it is told of."""

import csv
import fcntl
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trapline.core.errors import InputError
from trapline.formats.corrections import ACTIONS, COLUMNS
from trapline.io import atomic


@dataclass(frozen=True)
class Decision:
    """A row of corrections.csv.

    Args:
        from_label, to: The label before and, of a relabel, after; "" where there is none.
        when: ISO 8601, with its zone.
    """

    image_id: str
    box_id: str
    action: str
    from_label: str
    to: str
    who: str
    when: str

    def cells(self) -> dict[str, str]:
        values = (self.image_id, self.box_id, self.action, self.from_label, self.to, self.who, self.when)
        return dict(zip(COLUMNS, values, strict=True))


class CorrectionLog:
    """A corrections.csv that others may append to too.

    Args:
        path: The file; made by the first decision.
    """

    def __init__(self, path: Path):
        self.path = path
        self._read_to = 0
        self._header: list[str] = []

    def append(self, decisions: Sequence[Decision]) -> list[Decision]:
        """Append rows in one write and wait until they are on disk.

        Returns:
            Every row that this log had not seen: those of others first, then these.

        Raises:
            TraplineError: The disk refuses; nothing was appended.
        """
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                others = self._new_rows(descriptor)
                size = os.fstat(descriptor).st_size
                data = self._encode(decisions, descriptor, size)
                try:
                    if os.write(descriptor, data) != len(data):
                        raise OSError(28, "No space left on device")
                    os.fsync(descriptor)
                    if size == 0:
                        atomic.sync([self.path])  # its name in the folder too
                except OSError:
                    os.ftruncate(descriptor, size)
                    raise
                self._read_to = size + len(data)
            finally:
                os.close(descriptor)  # and with it the lock
        except OSError as error:
            raise atomic.disk_error(error, self.path) from error
        return [*others, *decisions]

    def news(self) -> list[Decision]:
        """Rows that were appended since this log last looked, in order."""
        try:
            if self.path.stat().st_size == self._read_to:
                return []
            descriptor = os.open(self.path, os.O_RDONLY)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise atomic.disk_error(error, self.path) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            return self._new_rows(descriptor)
        finally:
            os.close(descriptor)

    def _new_rows(self, descriptor: int) -> list[Decision]:
        size = os.fstat(descriptor).st_size
        if size < self._read_to:
            raise InputError(f"{self.path} became shorter while it was open. Start `trapline review` again.")
        data = os.pread(descriptor, size - self._read_to, self._read_to)
        begins = self._read_to == 0
        self._read_to = size
        try:
            rows = [row for row in csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True) if row]
        except (UnicodeDecodeError, csv.Error) as error:
            raise InputError(f"{self.path} is not a CSV table: {error}") from None
        if begins and rows:
            self._header = rows.pop(0)
            if missing := [name for name in ("box_id", "action", "to") if name not in self._header]:
                raise InputError(f"{self.path} lacks the columns {', '.join(missing)}.")
        found = [dict(zip(self._header, row, strict=False)) for row in rows]
        return [Decision(*(row.get(name, "") for name in COLUMNS)) for row in found if row.get("action", "") in ACTIONS]

    def _encode(self, decisions: Sequence[Decision], descriptor: int, size: int) -> bytes:
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        if size == 0:
            self._header = list(COLUMNS)
            writer.writerow(self._header)
        elif os.pread(descriptor, 1, size - 1) != b"\n":  # a person's editor may leave the last line open
            text.write("\n")
        for decision in decisions:
            cells = decision.cells()
            writer.writerow([cells.get(name, "") for name in self._header])
        return text.getvalue().encode()
