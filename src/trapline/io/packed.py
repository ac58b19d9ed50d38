"""Pieces in tar files, many to a file, with an index by which each is read alone: for disks that hate small files.

    pack-<digest>.tar       the pieces of one `sync`: any tar or WebDataset reader opens it
    pack-<digest>.parquet   their rows of the index: name, pack, offset, size, tag (digest), made_ns
    index-<digest>.parquet  the rows of many packs, merged by `settle`

A piece is in memory until it is synced: then its pack is written, and after it the rows, so that a kill in between
leaves a tar file that nothing speaks of. Of two rows with a name the newer one counts.
"""

import hashlib
import os
import tarfile
import threading
import time
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from trapline.io.away import Objects
from trapline.io.places import Folder, Piece, read_all

if TYPE_CHECKING:
    import polars as pl

BLOCK = 512  # bytes of a tar file's blocks
OPEN_FILES = 400  # packs that are kept open; a system allows a process 1,024 files or more
GONE = "pack-gone-"  # begins the names of index files that say that a piece was removed
MAX_INDEXES = 32  # index files that are left unmerged
_shelves: "dict[Folder | Objects, _Shelf]" = {}
_making = threading.Lock()


@dataclass(frozen=True)
class Packed:
    """Pieces packed into files of another place. Pickled, it is that place; what it knows is found again."""

    under: Folder | Objects

    folder = None

    @property
    def waits(self) -> bool:
        return self.under.waits

    def __str__(self) -> str:
        return f"tar files in {self.under}"

    def source(self, name: str) -> Piece:
        return Piece(self, name)

    def read(self, name: str) -> bytes:
        return self._shelf.read(name)

    def write(self, name: str, data: bytes | memoryview, *, sync: bool = False) -> None:
        self._shelf.hold(name, bytes(data))
        if sync:
            self.sync([name])

    def sync(self, names: Iterable[str]) -> None:
        self._shelf.pack(names)

    def remove(self, name: str) -> None:
        self._shelf.remove(name)

    def names(self, pattern: str) -> list[str]:
        names = self._shelf.refreshed()["name"].to_list()
        return sorted(name for name in names if "/" not in name and fnmatch(name, pattern))

    def state(self, names: Sequence[str]) -> "pl.DataFrame":
        """Sizes, and digests of the content."""
        import polars as pl

        wanted = pl.DataFrame({"name": names}, schema={"name": pl.String})
        known = self._shelf.refreshed().select("name", file_bytes="size", file_tag="tag")
        return wanted.join(known, on="name", how="left", maintain_order="left").drop("name")

    def settle(self) -> None:
        self._shelf.settle()

    @property
    def _shelf(self) -> "_Shelf":
        with _making:
            if self.under not in _shelves:
                _shelves[self.under] = _Shelf(self.under)
            return _shelves[self.under]


class _Shelf:
    """What a process knows of the packs of one place."""

    def __init__(self, under: Folder | Objects):
        self.under = under
        self._held: dict[str, bytes] = {}
        self._lock = threading.RLock()
        self._files: dict[str, BufferedReader] = {}  # packs that are open; closed when nobody reads them any more
        self._read_from: tuple[str, ...] | None = None  # the index files that `_rows` was read from
        self._rows = _no_rows()  # one per piece
        self._keys, self._order = array("Q"), array("Q")  # sorted keys of the names, and the row of each
        self._later: dict[str, tuple[str, int, int] | None] = {}  # packed or removed since

    def hold(self, name: str, data: bytes) -> None:
        """Keep a piece until it is synced."""
        with self._lock:
            self._held[name] = data

    def pack(self, names: Iterable[str]) -> None:
        """Write those pieces that are held as one pack; raises as Place.write."""
        with self._lock:
            held = {name: self._held[name] for name in names if name in self._held}
        if not held:
            return
        data, rows = _packed(held)
        pack = f"pack-{hashlib.blake2b(data, digest_size=12).hexdigest()}"
        self.under.write(f"{pack}.tar", data, sync=True)
        self._commit(pack, [(name, f"{pack}.tar", *row) for name, row in rows.items()])
        with self._lock:
            for name, (offset, size, _) in rows.items():
                self._later[name] = (f"{pack}.tar", offset, size)
                if self._held.get(name) is held[name]:
                    del self._held[name]

    def remove(self, name: str) -> None:
        """Forget a piece, if there is one."""
        with self._lock:
            self._held.pop(name, None)
            if self._find(name) is None:
                return
        gone = hashlib.blake2b(name.encode(), digest_size=12).hexdigest()
        self._commit(f"{GONE}{gone}", [(name, "", 0, None, None)])
        with self._lock:
            self._later[name] = None

    def read(self, name: str) -> bytes:
        """A piece's bytes; raises as Place.read."""
        with self._lock:
            if name in self._held:
                return self._held[name]
            found = self._find(name)
            if found is None:
                self.refreshed()  # another process may have packed it
                found = self._find(name)
        if found is None:
            raise FileNotFoundError(f"{name} is in no pack of {self.under}")
        pack, offset, size = found
        if isinstance(self.under, Objects):
            return self.under.read_range(pack, offset, size)
        data = self._read_file(self.under.path / pack, offset, size)
        if len(data) < size:
            raise OSError(f"{pack} is cut short")
        return data

    def refreshed(self) -> "pl.DataFrame":
        """The index as it is now: a row per piece."""
        import polars as pl

        with self._lock:
            files = self.under.names("*.parquet")
            packs = pl.Series(self.under.names("pack-*.tar"), dtype=pl.String)
            self._files = {name: file for name, file in self._files.items() if name in packs}
            if tuple(files) != self._read_from or self._later:
                self._rows = _newest(self._read(files)).rechunk()
                self._keys, self._order = _sorted_keys(self._rows["name"].to_list())
                self._read_from, self._later = tuple(files), {}
            return self._rows.filter(pl.col("pack").is_in(packs.implode()))

    def settle(self) -> None:
        """Merge many index files into one; remove packs of which nothing is left. No other process may be writing."""
        with self._lock:
            live = self.refreshed()
            files = [name for name in self.under.names("*.parquet") if name.startswith(("pack-", "index-"))]
            if len(files) > MAX_INDEXES:
                merged = f"index-{hashlib.blake2b(_bytes(live), digest_size=12).hexdigest()}.parquet"
                self.under.write(merged, _bytes(live), sync=True)
                for name in sorted(files, key=lambda name: name.startswith(GONE)):  # else what is gone comes back
                    if name != merged:
                        self.under.remove(name)
            kept = set(live["pack"].unique())
            for name in self.under.names("pack-*.tar"):
                if name not in kept:
                    self.under.remove(name)

    # -- the index ------------------------------------------------------------------------------------------------

    def _find(self, name: str) -> tuple[str, int, int] | None:
        """Pack, offset and size of a piece."""
        if name in self._later:
            return self._later[name]
        if self._read_from is None:
            self.refreshed()
        key = _key(name)
        place = bisect_left(self._keys, key)
        while place < len(self._keys) and self._keys[place] == key:  # two names may share one
            found, pack, offset, size, *_ = self._rows.row(self._order[place])
            if found == name:
                return pack, offset, size
            place += 1
        return None

    def _commit(self, name: str, rows: list[tuple]) -> None:
        """Add rows of the index."""
        import polars as pl

        newest = self._rows["made_ns"].max() if self._rows.height else 0
        made = max(time.time_ns(), int(str(newest or 0)) + 1)
        frame = pl.DataFrame([(*row, made) for row in rows], schema=_no_rows().schema, orient="row")
        self.under.write(f"{name}.parquet", _bytes(frame), sync=True)

    def _read(self, files: Sequence[str]) -> "list[pl.DataFrame]":
        import polars as pl

        found = [_no_rows()]
        for _, data in read_all(self.under, [name for name in files if name.startswith(("pack-", "index-"))]):
            try:
                found.append(pl.read_parquet(BytesIO(data or b"")))
            except (pl.exceptions.PolarsError, OSError):
                continue  # torn: its pieces count as not there
        return found

    def _read_file(self, path: Path, offset: int, size: int) -> bytes:
        with self._lock:
            file = self._files.get(path.name)
            if file is None:
                file = open(path, "rb")  # noqa: SIM115 (kept open)
                if len(self._files) < OPEN_FILES:
                    self._files[path.name] = file
        return os.pread(file.fileno(), size, offset)


def _packed(pieces: dict[str, bytes]) -> tuple[bytes, dict[str, tuple[int, int, str]]]:
    """A tar file's bytes; and offset, size and digest of each piece in it."""
    memory, rows = BytesIO(), {}
    with tarfile.open(fileobj=memory, mode="w", format=tarfile.PAX_FORMAT) as pack:
        for name, data in pieces.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            pack.addfile(member, BytesIO(data))
            offset = pack.offset - -(-len(data) // BLOCK) * BLOCK
            rows[name] = (offset, len(data), hashlib.blake2b(data, digest_size=12).hexdigest())
    return memory.getvalue(), rows


def _key(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")


def _sorted_keys(names: Sequence[str]) -> tuple[array, array]:
    """Keys of names in order, and the number of the name of each: 16 bytes a name, which a dictionary's 200 are not."""
    import numpy as np

    keys = np.fromiter((_key(name) for name in names), np.uint64, len(names))
    order = np.argsort(keys)
    return array("Q", keys[order].tobytes()), array("Q", order.astype(np.uint64).tobytes())


def _no_rows() -> "pl.DataFrame":
    import polars as pl

    text, number = pl.String, pl.Int64
    return pl.DataFrame(
        schema={"name": text, "pack": text, "offset": number, "size": number, "tag": text, "made_ns": number}
    )


def _newest(frames: "list[pl.DataFrame]") -> "pl.DataFrame":
    """The newest row of every name, but of those that were removed."""
    import polars as pl

    every = pl.concat(frames).sort("made_ns", maintain_order=True)
    return every.unique("name", keep="last", maintain_order=True).filter(pl.col("pack") != "")


def _bytes(frame: "pl.DataFrame") -> memoryview:
    from trapline.io.tables import as_bytes

    return as_bytes(frame)
