"""Files appear whole or not at all: written beside, synced, renamed."""

import contextlib
import errno
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

from trapline.core.errors import TraplineError

BESIDE = ".partial"


def replace(path: Path, write: Callable[[IO[bytes]], object], *, sync: bool = True, make_folder: bool = True) -> None:
    """Write a file through `write(stream)` so that `path` holds either its old or its whole new content.

    Args:
        sync: Wait until the bytes are on disk. Files that are many and cheap to make again (crops) leave that to
            the part they belong to.
        make_folder: Make the file's folder where it is not there; for many files, who writes them does it once.

    Raises:
        TraplineError: The disk is full or read-only; whatever was there is untouched.
    """
    with replacing(path, sync=sync, make_folder=make_folder) as stream:
        write(stream)


@contextlib.contextmanager
def replacing(path: Path, *, sync: bool = True, make_folder: bool = True) -> Iterator[IO[bytes]]:
    """`replace` for what is written bit by bit: a stream, whose content is at `path` once the `with` ends well."""
    beside = path.with_name(f"{path.name}{BESIDE}{os.getpid()}")
    try:
        if make_folder:
            path.parent.mkdir(parents=True, exist_ok=True)
        with open(beside, "wb") as stream:
            yield stream
            stream.flush()
            if sync:
                os.fsync(stream.fileno())
        os.replace(beside, path)
        if sync:
            _sync_one(path.parent)
    except OSError as error:
        _clear(beside)
        raise disk_error(error, path) from error
    except BaseException:
        _clear(beside)
        raise


def sync(paths: Iterable[Path]) -> None:
    """Make files that were written with `sync=False` durable, and their folders; far cheaper together than singly."""
    folders = set()
    for path in paths:
        _sync_one(path)
        folders.add(path.parent)
    for folder in folders:
        _sync_one(folder)


def replace_text(path: Path, text: str) -> None:
    """`replace` for a UTF-8 text."""
    replace(path, lambda stream: stream.write(text.encode()))


def _clear(beside: Path) -> None:
    """Take away what was begun; a disk that refused it may refuse this too, and the first error is the one to tell."""
    with contextlib.suppress(OSError):
        beside.unlink(missing_ok=True)


def disk_error(error: OSError, path: Path) -> Exception:
    """Say what the operating system's refusal to write `path` means and what to do."""
    remedies = {
        errno.ENOSPC: "the disk is full. Free some space and run the same command again: finished work is kept",
        errno.EDQUOT: "the disk quota is used up. Free some space and run the same command again",
        errno.EROFS: "the disk is read-only. Choose a project folder on another disk",
        errno.EACCES: "permission denied. Choose a project folder that you may write to",
        errno.EPERM: "permission denied. Choose a project folder that you may write to",
        errno.ENOTDIR: "a file stands where a folder is needed. Move it away",
        errno.EEXIST: "a file stands where a folder is needed. Move it away",
        errno.ENAMETOOLONG: "the name is too long for this disk",
    }
    remedy = remedies.get(error.errno or 0, error.strerror or str(error))
    return TraplineError(f"cannot write {path}: {remedy}.")


def _sync_one(path: Path) -> None:
    """Wait until a file, or a folder's renames, are on disk; not every system lets a folder be opened."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)
