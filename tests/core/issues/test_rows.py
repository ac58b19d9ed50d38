from trapline.core.issues.rows import issues, together


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
