"""Where named pieces of bytes lie: crops, parts, checkpoints. One kind of place per module; this one is a folder.

    place = places.of(crops_dir)             # a folder's path, or a place already
    picture = place.source(crop_id)          # what io/images.py opens: a path, or a Piece that is read then
    place.write(crop_id, data)               # whole or not at all
    place.sync([crop_id, ...])               # from here on they survive anything

io/away.py has objects of a store, io/packed.py tar files that hold many pieces each. Places are small and can be
pickled: workers on other machines open the same one. A name is a relative path with "/" (a crop's is its crop_id).
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from trapline.core.cores import usable_cores
from trapline.io import atomic

if TYPE_CHECKING:
    import polars as pl  # not at run time: a machine that only serves opens images without it

WAITING_THREADS = 16  # that read or write where most of the time is waiting for an answer


class Place(Protocol):
    """What every kind of place can do. Any thread may call any of it."""

    @property
    def waits(self) -> bool:
        """Whether reading waits for another machine, so that many threads should ask at a time."""
        ...

    @property
    def folder(self) -> Path | None:
        """The folder of this disk in which every piece is a file of its name; None where there is no such folder."""
        ...

    def __str__(self) -> str:
        """As a person writes it."""
        ...

    def source(self, name: str) -> "Source":
        """A piece, to be opened later."""
        ...

    def read(self, name: str) -> bytes:
        """A piece's bytes.

        Raises:
            OSError: FileNotFoundError where there is none, another where a disk refuses.
            TraplineError: A store cannot be asked now.
        """
        ...

    def write(self, name: str, data: bytes | memoryview, *, sync: bool = False) -> None:
        """Store a piece, whole or not at all.

        Args:
            sync: Return once it survives anything. Without it, `sync` does that later for many together.

        Raises:
            TraplineError: The disk or the store refuses.
        """
        ...

    def sync(self, names: Iterable[str]) -> None:
        """Make pieces that were just written durable."""
        ...

    def remove(self, name: str) -> None:
        """Remove a piece, if it is there."""
        ...

    def names(self, pattern: str) -> list[str]:
        """Names at the top of the place that match (`part-*.parquet`), sorted."""
        ...

    def state(self, names: Sequence[str]) -> "pl.DataFrame":
        """What tells one content of a piece from another, null where there is none, a row per name: `file_bytes` and
        one more column."""
        ...

    def settle(self) -> None:
        """Put in order what many writers left; called once they are all done."""
        ...


@dataclass(frozen=True)
class Piece:
    """A piece of a place that is no file of this disk, to be read when it is needed."""

    place: Place
    name: str

    def read_bytes(self) -> bytes:
        """Its bytes. Raises as Place.read."""
        return self.place.read(self.name)

    def __str__(self) -> str:
        return f"{self.place}/{self.name}"


Source = Path | Piece


@dataclass(frozen=True)
class Folder:
    """A folder of this disk, a file to a piece."""

    path: Path

    waits = False

    @property
    def folder(self) -> Path | None:
        return self.path

    def __str__(self) -> str:
        return str(self.path)

    def source(self, name: str) -> Path:
        return self.path / name

    def read(self, name: str) -> bytes:
        return (self.path / name).read_bytes()

    def write(self, name: str, data: bytes | memoryview, *, sync: bool = False) -> None:
        atomic.replace(self.path / name, lambda stream: stream.write(data), sync=sync)

    def sync(self, names: Iterable[str]) -> None:
        atomic.sync(self.path / name for name in names)

    def remove(self, name: str) -> None:
        (self.path / name).unlink(missing_ok=True)

    def names(self, pattern: str) -> list[str]:
        return sorted(path.name for path in self.path.glob(pattern))

    def state(self, names: Sequence[str]) -> "pl.DataFrame":
        """Sizes, and times of change in ns."""
        import polars as pl

        sizes: list[int | None] = []
        times: list[int | None] = []
        for name in names:
            try:
                status = os.stat(self.path / name)
                sizes.append(status.st_size)
                times.append(status.st_mtime_ns)
            except OSError:
                sizes.append(None)
                times.append(None)
        return pl.DataFrame(
            {"file_bytes": sizes, "file_mtime_ns": times}, schema={"file_bytes": pl.Int64, "file_mtime_ns": pl.Int64}
        )

    def settle(self) -> None:
        """Nothing."""


def of(place: Path | Place) -> Place:
    """A folder's path as a place; a place as it is."""
    return Folder(place) if isinstance(place, Path) else place


def threads_for(sources: Sequence[Source]) -> int:
    """How many threads should load these: one per core, and more where each waits for another machine."""
    waits = bool(sources) and isinstance(sources[0], Piece) and sources[0].place.waits
    return max(usable_cores(), WAITING_THREADS if waits else 0)


def read_all(place: Place, names: Sequence[str]) -> Iterator[tuple[str, bytes | None]]:
    """Each name and its bytes, in order; None of what cannot be read. Some are read ahead where that waits.

    Raises:
        TraplineError: A store cannot be asked now.
    """

    def read(name: str) -> bytes | None:
        try:
            return place.read(name)
        except OSError:
            return None

    if not place.waits:
        yield from ((name, read(name)) for name in names)
        return
    with ThreadPoolExecutor(WAITING_THREADS) as pool:
        for start in range(0, len(names), 4 * WAITING_THREADS):
            some = names[start : start + 4 * WAITING_THREADS]
            yield from zip(some, pool.map(read, some), strict=True)
