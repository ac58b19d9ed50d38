import polars as pl
import pytest

from trapline.core.errors import TraplineError
from trapline.core.schemas import SPLITS
from trapline.io import tables


def test_a_table_is_checked_sorted_and_comes_back(tmp_path):
    frame = pl.DataFrame(
        {"split": ["val", "train"], "group_id": ["b", "a"], "fold": [None, None]}, schema_overrides={"fold": pl.Int64}
    )
    tables.write(tmp_path / "t" / "splits.parquet", frame, SPLITS)
    assert tables.read(tmp_path / "t" / "splits.parquet").rows() == [("a", "train", None), ("b", "val", None)]
    with pytest.raises(TraplineError, match="breaks its schema"):
        tables.write(tmp_path / "t" / "splits.parquet", frame.drop("fold"), SPLITS)
    assert tables.read(tmp_path / "t" / "splits.parquet").height == 2


def test_the_same_rows_are_the_same_bytes(tmp_path):
    frame = pl.DataFrame({"group_id": ["a", "b"], "split": ["train", "val"], "fold": [1, 2]})
    tables.write(tmp_path / "1", frame, SPLITS)
    tables.write(tmp_path / "2", frame.reverse(), SPLITS)
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


@pytest.mark.parametrize(
    ("data", "message"), [(None, "is missing. Run `trapline run`"), (b"PAR1 torn", "cannot be read")]
)
def test_an_unusable_table_names_the_remedy(tmp_path, data, message):
    if data is not None:
        (tmp_path / "a.parquet").write_bytes(data)
    with pytest.raises(TraplineError, match=f"table {tmp_path}/a.parquet {message}"):
        tables.read(tmp_path / "a.parquet")


def test_csv(tmp_path):
    tables.save_csv(tmp_path / "a.csv", pl.DataFrame({"path": ['a, "b".jpg', "é"], "n": [1, None]}))
    assert (tmp_path / "a.csv").read_text("utf-8") == 'path,n\n"a, ""b"".jpg",1\né,\n'
