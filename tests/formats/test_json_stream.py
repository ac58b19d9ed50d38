import io
import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trapline.formats.json_stream import JsonStream, MalformedJson, UnexpectedJson


class Thing(msgspec.Struct):
    id: int


THINGS = {"a": msgspec.json.Decoder(list[Any]), "b": msgspec.json.Decoder(list[Any])}
TYPED = {"a": msgspec.json.Decoder(list[Thing])}
INFO = {"info": msgspec.json.Decoder(dict)}


def walk(data: bytes, piece: int, arrays=None, **rest):
    stream = JsonStream(io.BytesIO(data), arrays or THINGS, INFO, piece=piece, **rest)
    found: dict[str, Any] = {}
    for key, value in stream.pieces():
        if isinstance(value, list):
            found.setdefault(key, []).extend(value)
        elif key in INFO:
            found[key] = value
    return found, stream.cut


AWKWARD = st.sampled_from(["},", '"},{"', "]", "[{", "\\", '\\"', "}, {", "é", "\n", "", "\u2028"]) | st.text(
    max_size=4
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | AWKWARD,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(AWKWARD, inner, max_size=3),
    max_leaves=6,
)
DOCUMENTS = st.dictionaries(st.sampled_from(["a", "b", "other", '"},{', "deep"]), st.lists(VALUES, max_size=5)) | (
    st.fixed_dictionaries({"info": st.dictionaries(AWKWARD, VALUES, max_size=2), "a": st.lists(VALUES, max_size=5)})
)
LAYOUTS = st.sampled_from([{"indent": 4}, {}, {"separators": (",", ":")}, {"ensure_ascii": False}])


def wanted(document):
    return {key: value for key, value in document.items() if key in ("a", "b", "info")}


@given(document=DOCUMENTS, layout=LAYOUTS, piece=st.integers(1, 60))
@example(document={"a": [{"x": "},"}, {"x": "},"}], "b": []}, layout={"indent": 4}, piece=9)
def test_pieces_hold_what_the_file_holds(document, layout, piece):
    assert walk(json.dumps(document, **layout).encode(), piece) == (wanted(document), None)


@given(
    things=st.lists(VALUES, min_size=1, max_size=4),
    layout=LAYOUTS,
    piece=st.integers(1, 60),
    where=st.floats(0, 1),
)
def test_a_file_that_ends_too_early_gives_all_that_is_whole(things, layout, piece, where):
    data = json.dumps({"a": things}, **layout).encode()
    found, why = walk(data[: 1 + int(where * (len(data) - 2))], piece)
    assert why is not None
    recovered = found.get("a", [])
    assert recovered[:-1] == things[: len(recovered)][:-1]
    if recovered and not isinstance(recovered[-1], int):  # a number that is cut is a shorter number: nothing tells
        assert recovered[-1] == things[len(recovered) - 1]


def test_every_cut_of_whole_records():
    records = [{"id": n, "name": f'x "{n}" }},', "box": [n, 2, 3, 4]} for n in range(6)]
    data = json.dumps({"info": {"v": 1}, "a": records}, indent=4).encode()
    ends = [data.index(b"    }", data.index(b'"id": %d' % n)) + 5 for n in range(6)]
    for cut in range(1, len(data) - 1):
        for piece in (7, 50, 10**6):
            found, why = walk(data[:cut], piece)
            assert why
            assert found.get("a", []) == records[: sum(end <= cut for end in ends)]


@pytest.mark.parametrize("piece", [5, 40, 10**6])
def test_broken_is_not_cut(piece):
    records = [{"id": n} for n in range(9)]
    data = json.dumps({"a": records}).encode()
    place = data.index(b'"id": 4')
    for wrong in (b'"id"; 4', b'"id": x', b'"id": }', b'{id": 4', b'"id  : 4', b']id": 4'):
        with pytest.raises(MalformedJson):
            walk(data[:place] + wrong + data[place + 7 :], piece)


@pytest.mark.parametrize("piece", [8, 30, 10**6])
def test_a_wrong_record_is_named_by_its_place_in_the_file(piece):
    records: list[dict] = [{"id": n} for n in range(20)]
    records[13] = {"id": "thirteen"}
    with pytest.raises(UnexpectedJson, match=r"Expected `int`, got `str` - at `\$.a\[13\].id`"):
        walk(json.dumps({"a": records}).encode(), piece, TYPED)
    with pytest.raises(UnexpectedJson, match=r"Expected `array`, got `null` - at `\$.a`"):
        walk(b'{"a": null}', piece, TYPED)
    with pytest.raises(UnexpectedJson, match=r"Expected `object`, got `array` - at `\$.info`"):
        walk(b'{"info": [1, 2]}', piece)


def test_the_byte_that_breaks_it_is_named():
    data = json.dumps({"a": [{"id": n} for n in range(100)]}).encode()
    place = data.index(b'"id": 57')
    for piece in (16, 300, 10**6):
        with pytest.raises(MalformedJson, match=rf"\(byte {place + 6}\)"):
            walk(data[: place + 6] + b"!" + data[place + 6 :], piece)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'{"a": []} {"a": []}', "trailing characters"),
        (b'{"a": [] "b": []}', "expected ','"),
        (b'{"a" []}', "expected ':'"),
        (b"{a: []}", "keys must be strings"),
        (b'{"a": [], "a": []}', "comes twice"),
        (b"{" + b",".join(b'"%d": 1' % n for n in range(2000)) + b"}", "more than 1000"),
        (b'{"other": [1, 2, nonsense]}', "malformed"),
        (b'{"info": {"x": nonsense}}', "malformed"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "recursion"),
    ],
)
def test_what_is_no_json_object(data, words):
    with pytest.raises((MalformedJson, UnexpectedJson), match=f"(?i){words}"):
        walk(data, 64)


def test_a_value_without_end_is_not_read_into_memory():
    for head in (b'{"a": [{"id": "', b'{"info": {"x": "', b'{"a', b'{"other": [1, 2, {"'):
        stream = JsonStream(Endless(head), TYPED, INFO, piece=1000, longest=10_000)
        with pytest.raises(MalformedJson, match="longer than 10,000 bytes"):
            list(stream.pieces())


class Endless(io.BytesIO):
    """A file whose last string never ends."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(size) or b"x" * (size or 1)
