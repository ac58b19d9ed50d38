import polars as pl
import pytest

from trapline.core.alignment import align


def aligned(paths, known):
    moved, words = align(pl.Series("file_name", paths), pl.Series(known))
    return moved.to_list(), words


@pytest.mark.parametrize(
    ("paths", "known", "moved", "words"),
    [
        (
            ["a.jpg", "b.jpg"],
            ["2024/a.jpg", "2024/b.jpg"],
            ["2024/a.jpg", "2024/b.jpg"],
            "2024/ was put before its paths",
        ),
        (["x/y/c/a.jpg", "x/y/b.jpg"], ["c/a.jpg"], ["c/a.jpg", "b.jpg"], "x/y/ was cut off its paths"),
        (["a.jpg", "zzz.jpg"], ["a.jpg", "2024/zzz.jpg"], ["a.jpg", "zzz.jpg"], ""),  # some are known: nothing moves
        (["a.jpg"], ["b.jpg"], ["a.jpg"], ""),
        (["c/a.jpg"], ["d/a.jpg"], ["c/a.jpg"], ""),
        (["a.jpg"], ["1/a.jpg", "2/a.jpg"], ["a.jpg"], ""),  # which of the two?
        ([], ["a.jpg"], [], ""),
    ],
)
def test_one_leading_folder_is_found(paths, known, moved, words):
    assert aligned(paths, known) == (moved, words)
