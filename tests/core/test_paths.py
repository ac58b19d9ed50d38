import re
from pathlib import PurePosixPath, PureWindowsPath

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trapline.core.paths import MAX_PART_BYTES, RESERVED, distinct_names, unsafe_reason, unsafe_reasons


@pytest.mark.parametrize(
    "name",
    [
        "IMG_0001.JPG",
        "islands/cam 1/site_3/0001-semi.jpg",
        "AABP 13_20051007_1205.jpg",
        "Waldkauz/Käfig…/鹿.jpg",
        "a..b/..c/d...jpg",
        "console/common.jpg",
        "x" * MAX_PART_BYTES,
        "/".join(["folder"] * 60),
    ],
)
def test_ordinary_names_are_fine(name):
    assert unsafe_reason(name) is None


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "empty"),
        ("  ", "empty"),
        ("../secret.jpg", "climbs out"),
        ("a/../../b.jpg", "climbs out"),
        ("a\\..\\b.jpg", "climbs out"),
        ("..", "climbs out"),
        ("/etc/passwd", "absolute"),
        ("\\\\server\\share\\x.jpg", "absolute"),
        ("~/x.jpg", "absolute"),
        ("C:/x.jpg", "absolute"),
        ("c:x.jpg", "absolute"),
        ("a/CON", "reserved by Windows"),
        ("nul.jpg", "reserved by Windows"),
        ("LPT1 .txt/x.jpg", "reserved by Windows"),
        ("a\0b.jpg", "control characters"),
        ("a\nb.jpg", "control characters"),
        ("x" * 300 + ".jpg", "too long"),
        ("é" * (MAX_PART_BYTES // 2 + 1), "too long"),  # file systems count bytes
    ],
)
def test_hostile_names_are_refused(name, reason):
    assert reason in (unsafe_reason(name) or "")


PIECES = st.sampled_from(["..", "/", "\\", "C:", "~", ".", "a", "con", "\0", " "]) | st.text(max_size=3)


@given(st.lists(PIECES).map("".join) | st.lists(PIECES).map("/".join))
@example("a/./../..")
def test_what_passes_stays_below_its_folder(name):
    if unsafe_reason(name) is not None:
        return
    for path in (PurePosixPath("/project") / name, PureWindowsPath("X:/project") / name):
        assert path.is_relative_to(path.parts[0] + "project")
        assert ".." not in path.parts
    assert all(len(part.encode()) <= 255 - len("___crop100_detector.jpg") for part in re.split(r"[/\\]", name))


AWKWARD = PIECES | st.sampled_from(
    [*RESERVED, "COM1", "Nul", "\u3000", "\x85", "\x1f", "\x7f", "\n", "ſ", "é" * 101, "x" * 201]
)


@given(st.lists(st.lists(AWKWARD, max_size=5).map("".join), max_size=6))
def test_a_column_of_names_is_judged_as_each_of_them_is(names):
    assert unsafe_reasons(pl.Series(names, dtype=pl.String)).to_list() == [unsafe_reason(name) for name in names]


def test_distinct_names():
    names = [
        "a.jpg",
        "b/A.jpg",
        "b/a.jpg",
        "c",
        "c/d.jpg",
        "x/e\u0301.png",
        "x/\u00e9.png",
        "B/z.jpg",
        "b/noext",
        "b/Noext",
    ]
    found = distinct_names(names)
    same = [name for name, kept in zip(names, found, strict=True) if name == kept]
    assert same == ["a.jpg", "B/z.jpg"]
    assert len({name.casefold() for name in found}) == len(names)
    assert all(kept.rpartition("/")[0] == name.rpartition("/")[0] for name, kept in zip(names, found, strict=True))
    assert found[1].startswith("b/A~")
    assert found[1].endswith(".jpg")
    assert distinct_names(names[::-1]) == found[::-1]


@given(st.lists(st.text(alphabet="aA\u00e9\u00df/.s", min_size=1, max_size=5), unique=True, max_size=12))
def test_distinct_names_are_distinct(names):
    names = [name for name in names if not unsafe_reason(name)]
    found = distinct_names(names)
    assert len({name.casefold() for name in found}) == len(found)
