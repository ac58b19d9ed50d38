"""Pieces as objects of a store that speaks S3: io/places.py says what a place can do."""

import asyncio
import contextlib
import fnmatch
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from trapline.core.config import FetchConfig
from trapline.core.errors import TraplineError
from trapline.io import atomic, objects
from trapline.io.loop import run
from trapline.io.objects import ObjectFailure, Store
from trapline.io.places import Piece

if TYPE_CHECKING:
    import polars as pl

FEW = 200  # pieces up to which each is asked for; of more, everything in their folders is listed
ANSWERED = 1000  # objects of one answer, at most
LISTED_AT_ONCE = 20_000  # objects; what a broken listing costs
CHUNK_BYTES = 8 << 20  # of a large object on its way to the disk
_T = TypeVar("_T")
_opened: dict[tuple[str, FetchConfig], Store] = {}
_opening = threading.Lock()


@dataclass(frozen=True)
class Objects:
    """Objects below a URL. Pickled, it is a URL and settings; each process opens the store for itself, once.

    Args:
        url: s3://bucket/prefix.
        cfg: How it is asked: profile, endpoint, region, patience.
        below: Folders below the URL, each followed by "/"; "" for none.
    """

    url: str
    cfg: FetchConfig
    below: str = ""

    waits = True
    folder = None

    def __str__(self) -> str:
        return f"{self.url.rstrip('/')}/{self.below}".rstrip("/")

    def inside(self, folder: str) -> "Objects":
        """The place one folder (or several, with "/") down."""
        return Objects(self.url, self.cfg, f"{self.below}{folder}/")

    def source(self, name: str) -> Piece:
        return Piece(self, name)

    def read(self, name: str) -> bytes:
        async def once(store: Store) -> bytes:
            return bytes((await store.get(self.below + name)).data)

        return self._do("read", name, once)

    def read_range(self, name: str, start: int, length: int) -> bytes:
        """Some bytes of a piece. Raises as `read`."""

        async def once(store: Store) -> bytes:
            key, client = self.below + name, store.connection.client
            asked = await store.attempt(lambda: client.get_range_async(key, start=start, length=length), n_bytes=length)
            return bytes(asked)

        return self._do("read", name, once)

    def write(self, name: str, data: bytes | memoryview, *, sync: bool = False) -> None:
        async def once(store: Store) -> None:
            key, client = self.below + name, store.connection.client
            await store.attempt(lambda: client.put_async(key, data), n_bytes=len(data))

        self._do("write", name, once)

    def send(self, name: str, path: Path) -> None:
        """Write a piece from a file of any size. Raises as `write`."""

        async def once(store: Store) -> None:
            await store.attempt(lambda: store.connection.client.put_async(self.below + name, path))

        self._do("write", name, once)

    def bring(self, name: str, path: Path) -> None:
        """A piece of any size into a file, whole or not at all. Raises as `read`, or where the disk refuses."""

        async def once(store: Store) -> None:
            async def whole() -> None:
                answer = await store.connection.client.get_async(self.below + name)
                with atomic.replacing(path) as stream:
                    async for chunk in answer.stream(min_chunk_size=CHUNK_BYTES):
                        stream.write(chunk)

            await store.attempt(whole)

        self._do("read", name, once)

    def sync(self, names: Iterable[str]) -> None:
        """Nothing: an object is durable once it is written."""

    def settle(self) -> None:
        """Nothing."""

    def remove(self, name: str) -> None:
        async def once(store: Store) -> None:
            await store.attempt(lambda: store.connection.client.delete_async(self.below + name))

        with contextlib.suppress(FileNotFoundError):  # S3 itself does not say so; others do
            self._do("remove", name, once)

    def names(self, pattern: str) -> list[str]:
        async def once(store: Store) -> list[str]:
            client = store.connection.client
            found = await store.attempt(lambda: client.list_with_delimiter_async(self.below.rstrip("/") or None))
            return [one["path"].rpartition("/")[2] for one in found["objects"]]

        return sorted(fnmatch.filter(self._do("list", "", once), pattern))

    def folders(self) -> list[str]:
        """Names of the folders at the top, sorted."""

        async def once(store: Store) -> list[str]:
            client = store.connection.client
            found = await store.attempt(lambda: client.list_with_delimiter_async(self.below.rstrip("/") or None))
            return [path.rstrip("/").rpartition("/")[2] for path in found["common_prefixes"]]

        return sorted(self._do("list", "", once))

    def state(self, names: Sequence[str]) -> "pl.DataFrame":
        """Sizes, and the store's tags: of small objects, digests of their content."""
        import polars as pl

        found = self._do("list", "", lambda store: self._stated(store, names))
        columns = {"file_bytes": pl.Int64, "file_tag": pl.String}
        return pl.DataFrame([found.get(name, (None, None)) for name in names], schema=columns, orient="row")

    async def _stated(self, store: Store, names: Sequence[str]) -> dict[str, tuple[int, str]]:
        """Name -> size and tag of those that are there."""
        wanted, found = set(names), {}

        async def ask(name: str) -> None:
            try:
                meta = await store.attempt(lambda: store.connection.client.head_async(self.below + name))
            except ObjectFailure as failure:
                if not failure.missing:
                    raise
                return
            found[name] = (meta["size"], meta["e_tag"] or "")

        async def walk(folder: str) -> None:
            async for meta in _listed(store, (self.below + folder).rstrip("/")):
                name = meta["path"].removeprefix(self.below)
                if name in wanted:
                    found[name] = (meta["size"], meta["e_tag"] or "")

        if len(wanted) <= FEW:
            await asyncio.gather(*(ask(name) for name in wanted))
        else:
            folders = {name.partition("/")[0] if "/" in name else "" for name in wanted}
            await asyncio.gather(*(walk(folder) for folder in ({""} if "" in folders else folders)))
        return found

    def _do(self, what: str, name: str, work: Callable[[Store], Coroutine[Any, Any, _T]]) -> _T:
        """Do it, and wait. What is wrong with one object is an OSError where it is missing, else ends the stage."""
        try:
            return run(work(self._store()))
        except ObjectFailure as failure:
            if failure.missing:
                raise FileNotFoundError(f"{self}/{name}") from None
            raise TraplineError(
                f"cannot {what} {f'{self}/{name}'.rstrip('/')}: {failure.reason}. See that what the storage is asked "
                "with may read, write, list and delete there, then run the same command again: finished work is kept."
            ) from None

    def _store(self) -> Store:
        with _opening:
            key = (self.url, self.cfg)
            if key not in _opened:
                setting = "`storage:` in trapline.yaml"
                _opened[key] = objects.open_store(self.url, self.cfg, proven=True, setting=setting)
            return _opened[key]


async def _listed(store: Store, folder: str) -> AsyncIterator[dict[str, Any]]:
    """What is known of every object in a folder and below, in order; asked for in steps, each tried again by itself."""
    after: str | None = None
    while True:

        async def some(after: str | None = after) -> list[dict[str, Any]]:
            found = []
            listing = store.connection.client.list(folder or None, offset=after, chunk_size=ANSWERED)
            async for chunk in listing:
                found += chunk
                if len(found) >= LISTED_AT_ONCE:
                    break
            return found

        found = await store.attempt(some)
        for meta in found:
            yield meta
        if len(found) < LISTED_AT_ONCE:
            return
        after = found[-1]["path"]
