"""Pieces decoded by other processes: the same elements, the same errors, nothing left running."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import polars as pl
import pytest

from trapline.core.errors import InputError
from trapline.formats import cct
from trapline.formats.json_ahead import LEAST_BYTES, Ahead
from trapline.formats.json_stream import JsonStream, MalformedJson, UnexpectedJson


class Thing(msgspec.Struct):
    id: int
    text: str = ""
    deep: dict | None = None


def frame(things: list[Thing]) -> pl.DataFrame:
    return pl.DataFrame({"id": [thing.id for thing in things], "text": [thing.text for thing in things]})


MAKES = {"a": frame}
ARRAYS = {"a": msgspec.json.Decoder(list[Thing])}
THINGS = [{"id": n, "text": "fox" * (n % 7)} for n in range(300)]


def running() -> set[int]:
    """Processes that decode pieces."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if b"json_ahead import work" in path.read_bytes():
                found.add(int(path.parent.name))
    return found


def read(path: Path, workers: int, meanwhile=lambda: None, **limits):
    """What the array `a` of a file holds, where it was cut, and how many pieces came from other processes."""
    ahead = Ahead(path, ARRAYS, MAKES, workers=workers, piece=500, least=0)
    given, frames = [], ahead.frames

    def counted(key, begin):
        for found in frames(key, begin):
            given.append(found)
            if len(given) == 3:
                meanwhile()
            yield found

    ahead.frames = counted
    try:
        with open(path, "rb") as file:
            stream = JsonStream(file, ARRAYS, {}, makes=MAKES, ahead=ahead, piece=500, **limits)
            made = [piece for key, piece in stream.pieces() if key == "a"]
        return pl.concat(made), stream.cut, len(given)
    finally:
        ahead.close()


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """This module, for the processes: they import it by its name."""
    monkeypatch.setitem(sys.modules, "test_json_ahead", sys.modules[__name__])
    monkeypatch.setattr(Thing, "__module__", "test_json_ahead")
    monkeypatch.setattr(frame, "__module__", "test_json_ahead")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))


@pytest.mark.parametrize(
    ("things", "layout", "ahead"),
    [
        (THINGS, {"indent": 4}, 30),
        (THINGS, {"separators": (",", ":")}, 15),
        ([{**thing, "text": 'a},{"b'} for thing in THINGS], {}, 0),
        ([{**thing, "deep": {"x": [{"y": 1}, {"z": 2}]}} for thing in THINGS], {"separators": (",", ":")}, 0),
        (THINGS[:2], {}, 0),
        ([], {}, 0),
    ],
    ids=["indented", "compact", "ends within texts", "nested", "short", "empty"],
)
def test_gives_what_the_file_holds(tmp_path, things, layout, ahead):
    path = tmp_path / "file.json"
    path.write_text(json.dumps({"a": things, "b": [1, {"x": 2}], "other": things}, **layout))
    found, cut, given = read(path, workers=2)
    assert found.to_dicts() == [{"id": thing["id"], "text": thing["text"]} for thing in things]
    assert cut is None
    assert given >= ahead


def test_a_cut_file_gives_what_is_whole(tmp_path):
    path = tmp_path / "file.json"
    path.write_text(json.dumps({"a": THINGS}, indent=4)[:-300])
    found, cut, given = read(path, workers=2)
    assert found["id"].to_list() == list(range(len(found)))
    assert len(THINGS) - 8 < len(found) < len(THINGS)
    assert cut == "`a`"
    assert given > 20


@pytest.mark.parametrize(
    ("wrong", "error"),
    [('"id": "two hundred"', UnexpectedJson), ('"id": 200 200', MalformedJson)],
    ids=["type", "JSON"],
)
def test_an_error_names_its_place_as_without_help(tmp_path, wrong, error):
    path = tmp_path / "file.json"
    path.write_text(json.dumps({"a": THINGS}, indent=4).replace('"id": 200', wrong))
    with pytest.raises(error) as alone:
        read(path, workers=1)
    with pytest.raises(error) as helped:
        read(path, workers=2)
    assert str(helped.value) == str(alone.value)
    assert "[200]" in str(helped.value) or "byte" in str(helped.value)


def test_processes_that_die_lose_nothing(tmp_path):
    before = running()
    path = tmp_path / "file.json"
    path.write_text(json.dumps({"a": THINGS}, indent=4))

    def kill():
        for pid in running() - before:
            os.kill(pid, signal.SIGKILL)

    found, _, given = read(path, workers=2, meanwhile=kill)
    assert found["id"].to_list() == list(range(len(THINGS)))
    assert given < 20


def long_export(path: Path, images: int) -> Path:
    """An export of some 70 MB, most of it white space."""
    gap = " " * (LEAST_BYTES // images + 1000)
    listed = ",\n".join(f'{{"id": "i{n}", "file_name": "a/{n}.jpg"{gap}}}' for n in range(images))
    objects = ",\n".join(f'{{"id": "o{n}", "image_id": "i{n}", "category_id": 1}}' for n in range(images))
    path.write_text(f'{{"images": [{listed}], "annotations": [{objects}], "categories": [{{"id": 1, "name": "fox"}}]}}')
    return path


def test_a_long_export_is_read_as_a_short_one(tmp_path):
    before = running()
    path = long_export(tmp_path / "export.json", 3000)
    found = cct.read(path)
    assert found.images["source_id"].to_list() == [f"i{n}" for n in range(3000)]
    assert found.objects["image"].to_list() == [f"i{n}" for n in range(3000)]
    assert running() <= before


def test_nothing_is_left_running_after_an_error(tmp_path):
    before = running()
    path = long_export(tmp_path / "export.json", 3000)
    path.write_text(path.read_text().replace('"id": "i2000"', '"id": null'))
    with pytest.raises(InputError, match=r"\$\.images\[2000\]\.id"):
        cct.read(path)
    assert running() <= before


def test_nothing_is_left_running_after_a_kill(tmp_path):
    before = running()
    path = long_export(tmp_path / "export.json", 3000)
    code = f"from pathlib import Path; from trapline.formats import cct\nwhile True: cct.read(Path({str(path)!r}))"
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        deadline = time.monotonic() + 60
        while not running() - before and time.monotonic() < deadline:
            time.sleep(0.02)
        assert running() - before
    finally:
        process.kill()
        process.wait()
    while running() - before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert running() <= before
