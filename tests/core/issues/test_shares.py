import polars as pl

from trapline.core.issues import shares


def crops():
    labels = ["fox"] * 10 + ["cat"] * 10 + ["rare"] * 2
    return pl.DataFrame(
        {
            "crop_id": [f"c{k:02}" for k in range(22)],
            "label": labels,
            "place": ["A"] * 9 + ["B"] + [f"P{k}" for k in range(10)] + ["Z", "Z"],
            "split": ["train"] * 10 + ["train"] * 7 + ["val"] * 2 + ["test"] + ["train"] * 2,
        }
    )


def test_a_label_of_one_place():
    found = shares.dominated(crops(), "place", shares.PLACE, 0.5)
    assert found.rows()[0][:3] == ("c00", "label_of_one_place", "9 of 10 crops of fox are of one place: A")
    assert found.height == 1  # a label of two crops says nothing


def test_splits_that_lack_a_label_are_marked():
    wished = {"train": 0.7, "val": 0.2, "test": 0.1}
    table = shares.split_table(crops(), wished)
    assert table.filter("extreme").select("label", "split").rows() == [("fox", "val"), ("fox", "test")]
    assert table.filter(pl.col("label") == "cat")["share"].to_list() == [0.7, 0.2, 0.1]
    found = shares.extreme_splits(crops(), wished)
    assert found["evidence"].to_list() == ["0% of fox is in val (0 crops), wished 20%"]
