import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from trapline.core.sampling import chance, chances


@given(names=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=5)), seed=st.integers())
def test_a_column_of_chances_is_each_names_chance(names, seed):
    found = chances(pl.Series("name", names, dtype=pl.String), seed, "group")
    assert found.to_list() == [chance(seed, "group", name) for name in names]
