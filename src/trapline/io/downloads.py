"""Objects onto disk: a part at a time, each file whole or not at all, synced together, within a disk budget."""

import asyncio
import os
import shutil
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trapline.core.config import FetchConfig
from trapline.core.errors import TraplineError
from trapline.core.geometry import Header
from trapline.io import atomic, images, objects
from trapline.io.loop import loop, run

KEPT_FREE = 0.1  # share of the disk that stays free where no `max_disk` is set
SLOW = 8.0  # times what a request usually takes: an image that takes longer waits for the second round
SLOW_AT_LEAST_S = 10.0


class DiskBudget(TraplineError):
    """The images have taken what they may of the disk."""


class Stopped(Exception):
    """The work was broken off elsewhere."""


@dataclass(frozen=True)
class Wanted:
    """One image to bring: its id, the store's URL and its key there, and its path below the project."""

    image_id: str
    place: str
    key: str
    path: str


@dataclass(frozen=True)
class Brought:
    """What became of it: bytes, checksum and header of the file, or the failure."""

    image_id: str
    path: str
    bytes: int | None = None
    checksum: str | None = None
    header: Header | None = None
    failure: str | None = None


class Incomplete(Exception):
    """A part had to end early: `done` is what was finished (and synced), `reason` why."""

    def __init__(self, done: list[Brought], reason: BaseException):
        super().__init__(str(reason))
        self.done = done
        self.reason = reason


@dataclass
class Downloads:
    """Brings images; shared by all workers of a stage.

    Args:
        cfg: Concurrency, time and disk budgets, credentials.
        root: The project's folder.
        on_disk: Bytes that fetched images take already.
        proven: Places that images came from before.
        patient: Whether each image gets its whole time budget. Else slow ones, which would hold up the rest, are left
            out for a second round; and missing ones of a store that has given nothing yet, whose address may be wrong.
        came_from: Places that images came from (kept by this).
    """

    cfg: FetchConfig
    root: Path
    on_disk: int = 0
    proven: frozenset[str] = frozenset()
    patient: bool = False
    came_from: set[str] = field(default_factory=set)
    _stores: dict[str, objects.Store] = field(default_factory=dict)
    _folders: set[Path] = field(default_factory=set)
    _opening: threading.Lock = field(default_factory=threading.Lock)
    _tasks: set[asyncio.Task] = field(default_factory=set)
    _stopped: bool = False

    def bring(self, part: Sequence[Wanted]) -> list[Brought]:
        """Fetch a part's images and sync them. Blocks; for any number of threads at a time.

        Returns:
            One entry per image, failures among them; without those left for the second round.

        Raises:
            Incomplete: It had to end before: the disk, the store, `stop()`.
        """
        for place in {wanted.place for wanted in part}:
            self.open(place)
        done, reason = run(self._part(part))
        atomic.sync(self.root / one.path for one in done if one.failure is None)
        if reason is not None:
            raise Incomplete(done, reason)
        return done

    def open(self, place: str) -> objects.Store:
        """The store at a URL; opened once.

        Raises:
            StoreRefused: As `objects.open_store`.
        """
        with self._opening:
            if place not in self._stores:
                self._stores[place] = objects.open_store(place, self.cfg, proven=place in self.proven)
            return self._stores[place]

    def stop(self) -> None:
        """Make every `bring` end soon, keeping what it has."""

        def cancel() -> None:
            self._stopped = True
            for task in self._tasks:
                task.cancel()

        loop().call_soon_threadsafe(cancel)

    # -- on the loop ----------------------------------------------------------------------------------------------

    async def _part(self, part: Sequence[Wanted]) -> tuple[list[Brought], BaseException | None]:
        if self._stopped:
            return [], Stopped()
        tasks = [asyncio.ensure_future(self._one(wanted)) for wanted in part]
        self._tasks.update(tasks)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            self._tasks.difference_update(tasks)
        ended = [task for task in tasks if not task.cancelled()]
        errors = [error for task in ended if (error := task.exception()) is not None]
        done = [task.result() for task in ended if task.exception() is None]
        reason = errors[0] if errors else (Stopped() if len(ended) < len(tasks) else None)
        return [one for one in done if one is not None], reason

    async def _one(self, wanted: Wanted) -> Brought | None:
        """Bring one image; None where it is left for the second round."""
        store = self._stores[wanted.place]
        header: Header | None = None
        was_short = False

        def check(data: object) -> str | None:
            nonlocal header, was_short
            view = memoryview(data)  # type: ignore[arg-type]
            try:
                header = images.read_header(view)
            except images.ImageFailure as failure:
                return str(failure)
            if images.looks_cut_short(view) and not was_short:  # the same again is how the object is; crop will judge
                was_short = True
                return "cut short"
            return None

        budget = None if self.patient else max(SLOW_AT_LEAST_S, SLOW * store.usual_s())
        try:
            fetched = await store.get(wanted.key, check=check, budget_s=budget)
        except objects.ObjectFailure as failure:
            unproven = failure.reason.startswith("missing") and wanted.place not in self.came_from | self.proven
            if not self.patient and (failure.transient or unproven):
                return None
            return Brought(wanted.image_id, wanted.path, failure=failure.reason)
        size = len(fetched.data)
        path = self.root / wanted.path
        self._spend(size, path)
        if path.parent not in self._folders:
            self._make_folder(path.parent)
        atomic.replace(path, lambda stream: stream.write(fetched.data), sync=False, make_folder=False)
        self.on_disk += size
        self.came_from.add(wanted.place)
        return Brought(wanted.image_id, wanted.path, size, fetched.checksum, header)

    def _make_folder(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for left in folder.glob(f"*{atomic.BESIDE}*"):  # by a kill
                left.unlink(missing_ok=True)
        except OSError as error:
            raise atomic.disk_error(error, folder) from error
        self._folders.add(folder)

    def _spend(self, size: int, path: Path) -> None:
        """Refuse a file that would take more of the disk than images may."""
        limit = self.cfg.max_disk_bytes
        if limit is not None:
            if self.on_disk + size > limit:
                raise DiskBudget(
                    f"stopped: the images take {self.on_disk / 1e9:,.2f} GB, and one more would pass --max-disk "
                    f"{self.cfg.max_disk}. {REMEDIES}"
                )
            return
        free, whole = free_space(self.root)
        if free - size < KEPT_FREE * whole:
            raise DiskBudget(
                f"stopped before the disk of {self.root} is full: {free / 1e9:,.1f} of {whole / 1e9:,.1f} GB are free, "
                f"and a tenth is kept free. {REMEDIES}"
            )


REMEDIES = (
    "What was fetched is kept. Free some space, or allow more with --max-disk, and run the same command again; or keep "
    "crops only (trapline crop --stream). `trapline estimate fetch` says what each takes."
)


def free_space(folder: Path) -> tuple[int, int]:
    """(free, whole) bytes of the disk that holds a folder, which may not exist yet."""
    while not folder.exists():
        folder = folder.parent
    usage = shutil.disk_usage(folder)
    return usage.free, usage.total


def sizes(root: Path, paths: Sequence[str | None]) -> list[int | None]:
    """Size in bytes of each file; None where there is none."""
    found: list[int | None] = []
    for path in paths:
        try:
            found.append(os.stat(root / path).st_size if path is not None else None)
        except (OSError, ValueError):
            found.append(None)
    return found
