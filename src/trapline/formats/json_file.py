"""JSON files from outside: read once, into declared types, with errors that name the file and the place in it."""

import codecs
import gc
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from trapline.core.errors import InputError
from trapline.formats.json_stream import JsonStream, MalformedJson, UnexpectedJson

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


class Pieces:
    """The content of a long JSON file, piece by piece (json_stream.py). Iterate; then `cut` says where it ended early.

    Args:
        arrays: Decoders of lists, by top-level key.
        values: Decoders of other top-level values.
        expected: As `decode`.

    Raises:
        InputError: As `decode`, while iterating.
    """

    def __init__(
        self,
        path: Path,
        arrays: Mapping[str, msgspec.json.Decoder[list[Any]]],
        values: Mapping[str, msgspec.json.Decoder[Any]],
        expected: str,
    ):
        self.cut: str | None = None
        self._path, self._arrays, self._values, self._expected = path, arrays, values, expected

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        path, collects = self._path, gc.isenabled()
        gc.disable()  # millions of records without cycles: looking for some takes longer than making them
        try:
            with open(path, "rb") as file:
                stream = JsonStream(file, self._arrays, self._values)
                yield from stream.pieces()
                self.cut = stream.cut
        except FileNotFoundError:
            raise InputError(f"{path} does not exist. Check the path.") from None
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror or error}.") from None
        except UnexpectedJson as error:
            raise InputError(f"{path} is not {self._expected}. {error}.") from None
        except MalformedJson as error:
            raise InputError(f"{path} is not valid JSON: {error}. Check that it is complete.") from None
        finally:
            if collects:
                gc.enable()


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
