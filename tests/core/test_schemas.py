import numpy as np
import polars as pl
import pytest

from trapline.core.errors import TraplineError
from trapline.core.schemas import EMBEDDINGS, SPLITS, TABLES


def splits(**columns):
    given = {"group_id": ["a", "b"], "split": ["train", "val"], "fold": pl.Series([None, None], dtype=pl.Int64)}
    return pl.DataFrame({name: values for name, values in {**given, **columns}.items() if values is not None})


def test_a_right_table_comes_back_in_order():
    found = SPLITS.check(splits().select("fold", "split", "group_id"))
    assert found.equals(splits())


@pytest.mark.parametrize(
    ("frame", "problem"),
    [
        (splits(split=None), "column split is missing"),
        (splits(extra=[1, 2]), "column extra is not declared"),
        (splits(fold=[1.0, 2.0]), "column fold is Float64, declared Int64"),
        (splits(split=["train", None]), "column split holds 1 nulls"),
        (splits(group_id=["a", None]), "column group_id holds 1 nulls"),
        (splits(group_id=["a", "a"]), "key group_id repeats"),
    ],
)
def test_a_wrong_table_is_refused(frame, problem):
    with pytest.raises(TraplineError, match=f"table splits breaks its schema.*{problem}"):
        SPLITS.check(frame)


@pytest.mark.parametrize(("dtype", "fits"), [(np.float32, True), (np.float64, False)])
def test_arrays_of_any_width_fit(dtype, fits):
    vectors = pl.Series(np.zeros((2, 7), dtype))
    frame = pl.DataFrame({"crop_id": ["a", "b"], "model": ["m", "m"], "embedding": vectors})
    if fits:
        assert EMBEDDINGS.check(frame).height == 2
    else:
        with pytest.raises(TraplineError, match="column embedding"):
            EMBEDDINGS.check(frame)


@pytest.mark.parametrize("schema", TABLES.values(), ids=lambda schema: schema.name)
def test_every_schema_accepts_its_empty_table(schema):
    if pl.Array not in schema.columns.values():
        assert schema.check(schema.empty()).is_empty()
    assert {*schema.key, *schema.required} <= set(schema.columns)
