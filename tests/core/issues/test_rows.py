from trapline.core.issues.rows import by_crop, issues, together


def test_kinds_stay_in_order_and_a_crop_comes_once_of_each():
    found = together(
        [
            issues(["a"], "wrong", ["w"], [0.2]),
            issues(["a", "b"], "copy", ["faint", "other"], [0.1, 0.4]),
            issues(["a"], "copy", ["plain"], [0.9]),
        ]
    )
    assert found.rows() == [
        ("a", "wrong", "w", found["score"][0]),
        ("a", "copy", "plain", found["score"][1]),
        ("b", "copy", "other", found["score"][2]),
    ]


def test_what_was_found_of_a_crop_comes_together_worst_first():
    kinds = [issues(["a", "b"], "wrong", ["w", "v"], [0.2, 0.3]), issues(["a"], "copy", ["c"], [0.9])]
    found = by_crop(together(kinds))
    told = {row["crop_id"]: row for row in found.iter_rows(named=True)}
    assert (told["a"]["issues"], told["a"]["evidence"]) == (["copy", "wrong"], "copy: c\nwrong: w")
    assert round(told["a"]["issue_score"], 3) == 0.9
    assert told["b"]["issues"] == ["wrong"]
