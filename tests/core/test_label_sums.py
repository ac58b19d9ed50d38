import numpy as np
import polars as pl
import pytest

from trapline.core.errors import InputError
from trapline.core.label_sums import label_sums

LABELS = ["elk", "mule_deer", "fox", "coyote"]
MAPPING = {"deer": ["mule_deer", "elk"], "canid": ["coyote", "dingo"]}
SCORES = np.array([[0.1, 0.4, 0.3, 0.2], [0.0, 0.0, 1.0, 0.0]], np.float32)


def test_probabilities_of_labels_that_become_one_are_summed_and_the_rest_is_other():
    sums = label_sums(MAPPING, LABELS, ["dingo"])
    assert sums.targets == ["deer", "canid", "other"]
    np.testing.assert_allclose(sums.sum(SCORES), [[0.5, 0.2, 0.3], [0, 0, 1]], atol=1e-7)


def test_many_rows_are_summed_as_few():
    rng = np.random.default_rng(0)
    scores = rng.dirichlet(np.ones(4), 70_000).astype(np.float32)
    found = label_sums(MAPPING, LABELS, ["dingo"]).sum(scores)
    np.testing.assert_allclose(found[:, 0], scores[:, 0] + scores[:, 1], atol=1e-6)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)


def test_true_labels_become_their_targets_too():
    sums = label_sums(MAPPING, LABELS, ["dingo"])
    truth = pl.Series(["elk", "deer", "dingo", "fox", "other", "lynx"])
    assert truth.to_frame("l").select(sums.rename(pl.col("l")))["l"].to_list() == [
        "deer", "deer", "canid", "other", "other", "lynx",
    ]  # fmt: skip


def test_a_label_that_is_called_as_a_target_stays_one():
    sums = label_sums({"fox": ["fox", "coyote"], "elk": ["elk"]}, LABELS, [])
    assert sums.targets == ["fox", "elk", "other"]
    assert pl.Series(["fox", "coyote"]).to_frame("l").select(sums.rename(pl.col("l")))["l"].to_list() == ["fox", "fox"]


def test_without_leftovers_there_is_no_other():
    assert label_sums({"any": LABELS}, LABELS, []).targets == ["any"]


def test_a_given_other_takes_the_leftovers():
    sums = label_sums({"other": ["fox"], "deer": ["elk"]}, LABELS, [])
    assert sums.targets == ["other", "deer"]
    np.testing.assert_allclose(sums.sum(SCORES)[0], [0.9, 0.1], atol=1e-6)


def test_every_problem_of_a_mapping_is_told():
    with pytest.raises(InputError) as error:
        label_sums({"a": ["elk"], "b": ["elk", "wolf"]}, LABELS, [])
    assert "has 2 problem(s)" in str(error.value)
    assert "'elk' becomes both 'a' and 'b'" in str(error.value)
    assert "'wolf', for 'b', is a label neither of the classifier nor of the examples" in str(error.value)
