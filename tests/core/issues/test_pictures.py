import polars as pl

from trapline.core.issues import pictures


def test_each_kind_is_found_and_good_crops_and_unmeasured_ones_are_not():
    crops = pl.DataFrame(
        [
            ("good", 300, 200, 0.3, 0.8, 0.1, 0.0),
            ("tiny", 20, 24, None, 0.8, 0.1, 0.0),
            ("soft", 300, 200, 0.8, 0.8, 0.1, 0.0),
            ("night", 300, 200, 0.3, 0.08, 0.0, 0.0),
            ("flash", 300, 200, 0.3, 1.0, 0.95, 0.0),
            ("black", 300, 200, None, 0.0, 0.0, 1.0),
            ("unread", 300, 200, None, None, None, None),
        ],
        schema=["crop_id", "width_px", "height_px", "blur", "dark", "bright", "padding"],
        orient="row",
    )
    found = pl.concat(pictures.poor(crops)).select("crop_id", "kind", "evidence").rows()
    assert found == [
        ("tiny", "tiny", "24 px at its longer side"),
        ("soft", "blurred", "blur 0.8 of 1, sharp crops have 0.2 to 0.4"),
        ("night", "underexposed", "95% of it is darker than 8% of full light"),
        ("flash", "overexposed", "95% of it is brighter than 95% of full light"),
        ("black", "mostly_padding", "100% of it is a black border"),
    ]
