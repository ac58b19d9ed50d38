"""JSON files from outside: read once, into declared types, with errors that name the file and the place in it."""

import codecs
import gc
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from trapline.core.errors import InputError
from trapline.formats.json_ahead import Ahead, Makes
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
        name: What the file should be ("a COCO Camera Traps file").
        hint: A sentence that says what such a file holds.
        makes: By keys of `arrays`, functions of a module that make a frame of elements. A long file's are then decoded
            by several processes (json_ahead.py).
        brief: Reading is all that goes on meanwhile: Python's collector of cycles rests.

    Raises:
        InputError: As `decode`, while iterating.
    """

    def __init__(
        self,
        path: Path,
        arrays: Mapping[str, msgspec.json.Decoder[list[Any]]],
        values: Mapping[str, msgspec.json.Decoder[Any]],
        name: str,
        hint: str,
        makes: Makes | None = None,
        *,
        brief: bool = True,
    ):
        self._makes, self._brief = makes or {}, brief
        self.cut: str | None = None
        self._path, self._arrays, self._values, self._name, self._hint = path, arrays, values, name, hint

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        path, collects = self._path, gc.isenabled() and self._brief
        if collects:
            gc.disable()  # millions of records without cycles: looking for some takes longer than making them
        ahead = Ahead(path, self._arrays, self._makes) if self._makes else None
        try:
            with open(path, "rb") as file:
                stream = JsonStream(file, self._arrays, self._values, makes=self._makes, ahead=ahead)
                yield from stream.pieces()
                self.cut = stream.cut
        except FileNotFoundError:
            raise InputError(f"annotation file {path} does not exist. Check the path.") from None
        except OSError as error:
            raise InputError(f"annotation file {path} cannot be read: {error.strerror or error}.") from None
        except UnexpectedJson as error:
            raise self.unexpected(str(error)) from None
        except MalformedJson as error:
            raise InputError(
                f"{path} is not valid JSON: {error}. Export it again, or check that it is complete."
            ) from None
        finally:
            if ahead is not None:
                ahead.close()
            if collects:
                gc.enable()

    def unexpected(self, reason: str) -> InputError:
        """The error that says for what reason the file is not what it should be."""
        return InputError(f"{self._path} is not {self._name}: {reason}. {self._hint}")


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
