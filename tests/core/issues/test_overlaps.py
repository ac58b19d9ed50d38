import polars as pl
import pytest

from trapline.core.issues import overlaps


def test_the_same_box_twice_with_two_labels():
    crops = pl.DataFrame(
        [
            ("a1", "a", "fox", 0.1, 0.1, 0.4, 0.4),
            ("a2", "a", "cat", 0.1, 0.1, 0.4, 0.36),  # the same animal: 0.9
            ("a3", "a", "fox", 0.1, 0.1, 0.4, 0.4),  # the same label as a1, not as a2
            ("b1", "b", "fox", 0.1, 0.1, 0.4, 0.4),
            ("b2", "b", "cat", 0.4, 0.1, 0.4, 0.4),  # beside it
        ],
        schema=["crop_id", "image_id", "label", "box_x", "box_y", "box_w", "box_h"],
        orient="row",
    )
    found = overlaps.overlapping(crops)
    assert sorted(found["crop_id"]) == ["a1", "a2", "a3"]
    assert found["score"].to_list() == pytest.approx([0.9] * 3)
    of_a1 = found.filter(pl.col("crop_id") == "a1")["evidence"][0]
    assert of_a1 == "labelled fox, and 90% the same box as a2, labelled cat"
