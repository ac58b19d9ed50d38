"""A JSON file whose top level is one object with long arrays, read in pieces of whole elements.

A file of gigabytes is never held at once, neither as text nor as objects: memory is bounded by the piece and the
longest element allowed. A file that ends too early gives every element that is whole, and says where it was cut.

How elements are found without a tokenizer in Python: the piece is cut behind the last `},` in it and decoded as an
array. If that succeeds, the cut was between two elements, since JSON has one reading only; if not (the `},` stood in
a string, or the array ends in this piece), exact element ends are looked for, which is slower and rare.
"""

import codecs
import re
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any

import msgspec

from trapline.formats.json_ahead import Ahead

PIECE = 2 * 2**20  # fits the cache of one core: 8 MB took a third longer
LONGEST = 64 * 2**20
MOST_KEYS = 1000  # of the top level; producers write four

_SPACE = re.compile(rb"[ \t\r\n]*")
_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_KEY = re.compile(_STRING, re.DOTALL)
_TOKEN = re.compile(_STRING + rb'|[\[\]{},"]', re.DOTALL)  # a lone quote begins a string that does not end here
_SCALAR_END = re.compile(rb"[ \t\r\n,\]}]")
_LAST_SCALAR = re.compile(rb"[-+.0-9A-Za-z]*\Z")
_BYTE = re.compile(r"\(byte (\d+)\)")

_RAW = msgspec.json.Decoder(list[msgspec.Raw])


class MalformedJson(ValueError):
    """The text is not JSON; says at which byte of the file."""


class UnexpectedJson(ValueError):
    """It is JSON, but not of the wanted types; says at which JSON path."""


class _End(Exception):
    """The file ends where it must not."""


class JsonStream:
    """Reads one file. After `pieces` is exhausted, `cut` tells whether and where it ended too early.

    Args:
        stream: The file, opened for reading bytes.
        arrays: Decoders of lists, by top-level key. Arrays of other keys are checked and skipped.
        values: Decoders of top-level values that are no arrays.
        makes: By keys of `arrays`, what pieces of elements become. Default: lists.
        ahead: Decodes pieces before their turn, to what `makes` would make of them.
        piece: Bytes read and decoded at once.
        longest: Bytes of one element, or of one top-level value that is no array; longer ones are refused.
    """

    def __init__(
        self,
        stream: IO[bytes],
        arrays: Mapping[str, msgspec.json.Decoder[list[Any]]],
        values: Mapping[str, msgspec.json.Decoder[Any]],
        *,
        makes: Mapping[str, Callable[[list[Any]], Any]] | None = None,
        ahead: Ahead | None = None,
        piece: int = PIECE,
        longest: int = LONGEST,
    ):
        self.cut: str | None = None
        self._piece, self._longest = piece, longest
        self._stream, self._arrays, self._values = stream, arrays, values
        self._makes, self._ahead = makes or {}, ahead
        self._buffer, self._at, self._before, self._ended = b"", 0, 0, False

    def pieces(self) -> Iterator[tuple[str, Any]]:
        """Yield (key, list of elements or what is made of it) for pieces of arrays, and (key, value), in
        order.

        Every array that the file has is yielded at least once, be it empty.

        Raises:
            MalformedJson, UnexpectedJson: At the first such place.
        """
        self._more()
        self._at = len(codecs.BOM_UTF8) if self._buffer.startswith(codecs.BOM_UTF8) else 0  # editors on Windows
        self._before = 0
        if self._peek() != b"{":
            self._decode(msgspec.json.Decoder(dict), self._buffer[self._at :], "$")  # raises: it is none
            raise MalformedJson("an object is expected")
        try:
            yield from self._members()
        except _End:
            self.cut = self.cut or "the top level"

    def _members(self) -> Iterator[tuple[str, Any]]:
        self._at += 1
        seen: set[str] = set()
        if self._peek() == b"}":
            self._at += 1
            return self._check_end()
        while True:
            key = self._key()
            if key in seen or len(seen) == MOST_KEYS:
                reason = "comes twice" if key in seen else f"is one of more than {MOST_KEYS}"
                raise UnexpectedJson(f"the key `{key[:100]}` {reason} - at `$`")
            seen.add(key)
            self.cut = f"`{key}`"  # unless we get past it
            if self._next() == b"[" and key not in self._values:
                for elements in self._elements(key):
                    if key in self._arrays:
                        yield key, elements
            else:
                text = self._value()
                decoder = self._arrays.get(key) or self._values.get(key) or msgspec.json.Decoder(msgspec.Raw)
                yield key, self._decode(decoder, text, f"$.{key}")
            self.cut = None
            mark = self._next()
            self._at += 1
            if mark == b"}":
                return self._check_end()
            if mark != b",":
                raise MalformedJson(f"JSON is malformed: expected ',' or '}}' (byte {self._before + self._at - 1})")

    def _key(self) -> str:
        self._next()
        while not (found := _KEY.match(self._buffer, self._at)):
            if self._buffer[self._at : self._at + 1] != b'"':
                raise MalformedJson(f"JSON is malformed: object keys must be strings (byte {self._before + self._at})")
            self._need_more(self._at)
        key = self._decode(msgspec.json.Decoder(str), found.group(), "$")
        self._at = found.end()
        if self._next() != b":":
            raise MalformedJson(f"JSON is malformed: expected ':' (byte {self._before + self._at})")
        self._at += 1
        return key

    def _value(self) -> bytes:
        """The text of a value that is no array; the position moves behind it."""
        scan = self._at
        if self._buffer[scan : scan + 1] not in (b"{", b"[", b'"'):
            while not (found := _SCALAR_END.search(self._buffer, scan)):
                self._need_more(scan)
                scan = self._at
            end = found.start()
        else:
            while (end := self._value_end()) is None:
                self._need_more(self._at)
        text = self._buffer[self._at : end]
        self._at = end
        return text

    def _value_end(self) -> int | None:
        depth = 0
        for found in _TOKEN.finditer(self._buffer, self._at):
            token = found.group()
            if token == b'"':
                return None
            depth += (token in b"[{") - (token in b"]}") if len(token) == 1 else 0
            if depth == 0:
                return found.end()
        return None

    def _elements(self, key: str) -> Iterator[Any]:
        """Whole elements of an array, in pieces, or what is made of them; the position moves behind the array."""
        decoder, make = self._arrays.get(key, _RAW), self._makes.get(key, _as_they_are)
        count = 0
        self._at += 1
        if self._next() == b"]":
            self._at += 1
            yield make([])
            return
        if self._ahead is not None:
            for made, elements, at in self._ahead.frames(key, self._before + self._at):
                count += elements
                self._go_to(at)
                yield made
        while True:
            while len(self._buffer) - self._at < self._piece and self._more():
                pass
            end = -1 if self._ended else self._buffer.rfind(b"},", self._at)
            elements = self._speculate(decoder, end + 1, key, count) if end >= 0 else None
            if elements is None:
                end, closed = self._exact_end()
                if end < 0:
                    if not self._ended:
                        self._grow(self._at)
                        continue
                    yield make(self._last_elements(decoder, key, count))
                    raise _End
                elements = self._decode(decoder, memoryview(self._buffer)[self._at : end], f"$.{key}", count, wrap=True)
            else:
                end, closed = end + 1, False
            self._at = end + 1
            count += len(elements)
            yield make(elements)
            if closed:
                return

    def _speculate(self, decoder: msgspec.json.Decoder[list[Any]], end: int, key: str, count: int) -> list[Any] | None:
        """The elements up to `end`, or None where that is not a place between two of them."""
        try:
            return self._decode(decoder, memoryview(self._buffer)[self._at : end], f"$.{key}", count, wrap=True)
        except MalformedJson:
            return None

    def _exact_end(self) -> tuple[int, bool]:
        """(position of the array's end or else of the last comma between elements, whether it is the end).

        -1 where the buffer holds neither.
        """
        depth, comma = 0, -1
        for found in _TOKEN.finditer(self._buffer, self._at):
            token = found.group()
            if len(token) > 1:
                continue
            if token == b'"':
                break
            if depth == 0 and token == b"]":
                return found.start(), True
            if depth == 0 and token == b",":
                comma = found.start()
            depth += (token in b"[{") - (token in b"]}")
        if self._ended and comma >= 0 and not self._buffer[comma + 1 :].strip():
            return -1, False  # nothing follows: the last piece of a file that was cut
        return comma, False

    def _last_elements(self, decoder: msgspec.json.Decoder[list[Any]], key: str, count: int) -> list[Any]:
        """What is whole of the rest of a file that ends within an array: an element, or nothing."""
        self._peek()
        rest = self._buffer[self._at :].rstrip().removesuffix(b",")
        if not rest:
            return []
        try:
            return self._decode(decoder, rest, f"$.{key}", count, wrap=True)
        except MalformedJson:
            self._decode_prefix(rest)
            return []

    def _decode_prefix(self, text: bytes) -> None:
        """Raise unless `text` is the beginning of JSON: broken is not the same as cut."""
        try:
            msgspec.json.decode(_LAST_SCALAR.sub(b"", text), type=msgspec.Raw)
        except (msgspec.DecodeError, RecursionError) as error:
            if "truncated" not in str(error):
                raise self._malformed(error, 0) from None

    def _decode(
        self,
        decoder: msgspec.json.Decoder[Any],
        text: bytes | memoryview,
        place: str,
        count: int = 0,
        *,
        wrap: bool = False,
    ) -> Any:
        """Decode `text`, which begins at the present position; `wrap`: as the elements of an array."""
        try:
            return decoder.decode(b"".join((b"[", text, b"]")) if wrap else text)
        except msgspec.ValidationError as error:
            raise UnexpectedJson(_at_place(str(error), place, count)) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise self._malformed(error, -1 if wrap else 0) from None

    def _malformed(self, error: Exception, shift: int) -> MalformedJson:
        """With the byte counted from the file's beginning."""
        start = self._before + self._at + shift
        return MalformedJson(_BYTE.sub(lambda found: f"(byte {start + int(found[1])})", str(error)))

    def _check_end(self) -> None:
        if self._peek():
            raise MalformedJson(f"JSON is malformed: trailing characters (byte {self._before + self._at})")

    def _next(self) -> bytes:
        """The next byte that is no white space; the position moves to it."""
        found = self._peek()
        if not found:
            raise _End
        return found

    def _peek(self) -> bytes:
        while True:
            found = _SPACE.match(self._buffer, self._at)
            self._at = found.end() if found else self._at
            if self._at < len(self._buffer) or not self._more():
                return self._buffer[self._at : self._at + 1]

    def _need_more(self, begin: int) -> None:
        """Read on, since what begins at `begin` is longer than the buffer."""
        if not self._grow(begin):
            raise _End

    def _grow(self, begin: int) -> bool:
        """Double the buffer, so that looking through it anew costs no more than twice; False at the file's end."""
        if len(self._buffer) - begin > self._longest:
            raise MalformedJson(
                f"a single value is longer than {self._longest:,} bytes (it begins at byte {self._before + begin})"
            )
        return self._more(len(self._buffer) - begin)

    def _go_to(self, at: int) -> None:
        """Move to a byte of the file that is ahead."""
        self._stream.seek(at)
        self._buffer, self._at, self._before, self._ended = b"", 0, at, False

    def _more(self, size: int = 0) -> bool:
        """Drop what is behind the position and read another piece; False at the end of the file."""
        if self._ended:
            return False
        data = self._stream.read(max(self._piece, size))
        self._ended = not data
        self._before += self._at
        self._buffer = self._buffer[self._at :] + data
        self._at = 0
        return bool(data)


def _as_they_are(elements: list[Any]) -> list[Any]:
    return elements


def _at_place(message: str, place: str, count: int) -> str:
    """msgspec's message with its path, which begins at the decoded text, made to begin at the file's top."""
    words, mark, path = message.partition(" - at `$")
    if mark and (index := re.match(r"\[(\d+)\]", path)) and place != "$":
        path = f"[{int(index[1]) + count}]{path[index.end() :]}"
    return f"{words} - at `{place}{path if mark else '`'}"
