import pytest

from trapline.core.quantities import say_size, say_time, seconds, size_in_bytes


@pytest.mark.parametrize(
    ("text", "expected"),
    [("20GB", 20e9), ("1.5 GiB", 1.5 * 1024**3), ("500MB", 5e8), ("12", 12), ("3k", 3e3), ("", None), ("8h", None)],
)
def test_sizes(text, expected):
    assert size_in_bytes(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("8h", 28800), ("90min", 5400), ("1h30m", 5400), ("1 h 30 min 5s", 5405), ("0.5h", 1800), ("2d", 172800)]
    + [(text, None) for text in ("", "8", "h", "8 hours of work", "-1h", "20GB")],
)
def test_times(text, expected):
    assert seconds(text) == expected


def test_words():
    assert [say_size(n) for n in (900, 2.5e6, 3e9, 4e12)] == ["1 kB", "2.5 MB", "3.0 GB", "4.0 TB"]
    assert [say_time(n) for n in (0.2, 45, 600, 7200)] == ["1 s", "45 s", "10 min", "2.0 h"]
