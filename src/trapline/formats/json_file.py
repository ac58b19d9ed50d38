"""JSON files from outside: read once, into declared types, with errors that name the file and the place in it."""

import codecs
from pathlib import Path
from typing import TypeVar

import msgspec

from trapline.core.errors import InputError

T = TypeVar("T")


def decode(path: Path, type: type[T], expected: str) -> T:
    """The content of a JSON file.

    Args:
        expected: What the file should be, as a noun phrase ("a results file: an object with ...").

    Raises:
        InputError: It is missing, unreadable, not JSON, or not of that type.
    """
    data = read_bytes(path)
    try:
        return msgspec.json.decode(data, type=type)
    except msgspec.ValidationError as error:
        raise InputError(f"{path} is not {expected}. {error}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path} is not valid JSON: {error}. Export it again, or check that it is complete.") from None


def read_bytes(path: Path) -> bytes:
    """A file's bytes without a byte order mark (editors on Windows put it there).

    Raises:
        InputError: It is missing or cannot be read.
    """
    try:
        return path.read_bytes().removeprefix(codecs.BOM_UTF8)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist. Check the path.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from None
