import os

import numpy as np
import polars as pl

from trapline.learn.rows import as_arrays, with_file_state


def test_a_file_made_again_is_another_row(tmp_path):
    rows = pl.DataFrame({"crop_id": ["a.jpg", "gone.jpg"]})
    (tmp_path / "a.jpg").write_bytes(b"12")
    first = with_file_state(rows, tmp_path)
    assert first["file_bytes"].to_list() == [2, None]
    assert with_file_state(rows, tmp_path).equals(first)
    os.utime(tmp_path / "a.jpg", ns=(1, 1))  # of the same size, written at another time
    assert not with_file_state(rows, tmp_path).equals(first)


def test_rows_of_nan_are_null():
    values = np.array([[1.0, 2.0], [np.nan, np.nan], [3.0, 4.0]], dtype=np.float32)
    assert as_arrays(values, 2).to_list() == [[1.0, 2.0], None, [3.0, 4.0]]
    nothing = as_arrays(np.empty((2, 0), dtype=np.float32), 3)
    assert nothing.to_list() == [None, None]
    assert nothing.dtype == pl.Array(pl.Float32, 3)
