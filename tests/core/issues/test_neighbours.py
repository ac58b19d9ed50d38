import numpy as np
import polars as pl
import pytest

from trapline.core.copies import copies
from trapline.core.issues import neighbours
from trapline.core.neighbours import unit


def test_copies_are_found_but_not_bursts_nor_two_boxes_of_one_image():
    features = np.random.default_rng(2).normal(size=(8, 32))
    for copy, original in ((1, 0), (3, 2), (5, 4), (7, 6)):
        features[copy] = features[original]
    crops = pl.DataFrame(
        {
            "crop_id": [f"c{k}" for k in range(8)],
            "image_id": ["a", "b", "c", "d", "e", "f", "g", "g"],
            "sequence": [None, "s", "t", "t", "u", "v", None, None],  # 0/1 apart, 2/3 a burst, 6/7 of one image
            "split": ["train", "test", "train", "train", "val", "val", "train", "train"],
        }
    )
    found = neighbours.near_duplicates(crops, copies(unit(features), 2, 0.99, np.arange(8)), 0.99)
    assert found["crop_id"].to_list() == ["c0", "c1", "c4", "c5"]
    assert "c1" in found["evidence"][0]
    assert "across splits (train and test)" in found["evidence"][0]
    assert found["score"].to_list() == pytest.approx([1, 1, 0.5, 0.5], abs=1e-3)


def test_a_crop_unlike_its_label_is_an_outlier():
    rng = np.random.default_rng(3)
    features = rng.normal(0, 0.2, (60, 16))
    features[:30, 0] += 3
    features[30:, 1] += 3
    features[4] = -features[4]
    given = np.repeat([0, 1], 30)
    given[59] = -1
    ids = [f"c{k}" for k in range(60)]
    found = neighbours.outliers(ids, given, unit(features), ["cat", "dog"])
    assert found["crop_id"][0] == "c4"
    assert found["evidence"][0].startswith("unlike other cat: distance")
    assert "c59" not in found["crop_id"]


def test_copied_frames_are_found_once_from_both_sides():
    crops = pl.DataFrame(
        {
            "crop_id": ["a0", "a1", "b0", "c0"],
            "image_id": ["a", "a", "b", "c"],
            "split": ["train", "train", "test", "train"],
        }
    )
    pairs = pl.DataFrame({"image_id": ["a", "a"], "other_image_id": ["b", "c"], "distance": [3, 9]})
    found = neighbours.copied_frames(crops, pairs)
    evidence = dict(found.select("crop_id", "evidence").iter_rows())
    assert set(evidence) == {"a0", "a1", "b0", "c0"}
    assert evidence["a0"] == (
        "its frame is nearly the same as b at another place (3 of 256 bits differ), across splits (train and test)"
    )
    assert evidence["c0"].endswith("a at another place (9 of 256 bits differ), within the split")
    scores = dict(found.select("crop_id", "score").iter_rows())
    assert scores["b0"] > 0.9 > 0.5 > scores["c0"]


def test_of_a_copys_twins_only_its_original_is_kept():
    """c is a copy of a, and b of a's burst is as near to it by the frame's hash."""
    crops = pl.DataFrame({"crop_id": ["a0", "b0", "c0", "d0", "e0"], "image_id": list("abcde")})
    pairs = pl.DataFrame({"image_id": ["a", "b", "d"], "other_image_id": ["c", "c", "e"], "distance": [2, 2, 0]})
    features = np.random.default_rng(5).normal(size=(5, 16))
    features[2] = features[0] + 0.01
    features[3] = np.nan  # nothing is known of d's crop
    kept = neighbours.likeliest_twins(crops, pairs, unit(features))
    assert kept.rows() == [("a", "c", 2), ("d", "e", 0)]
    assert neighbours.likeliest_twins(crops, pairs, np.zeros((5, 16), np.float32)).height == 3
