import numpy as np
import polars as pl
import pytest

from trapline.report import figures, gallery, wording


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (None, "–"),
        (0.0, "0%"),
        (1.0, "100%"),
        (0.744, "74%"),
        (0.996, "99.6%"),
        (0.9999, ">99.9%"),
        (0.001, "0.1%"),
        (1e-6, "<0.1%"),
    ],
)
def test_percentages_never_claim_all_or_nothing(share, text):
    assert wording.percent(share) == text


def test_counts_agree_with_their_noun():
    assert wording.count(1, "location") == "1 location"
    assert wording.count(1204, "crop") == "1,204 crops"


def test_the_matrix_leaves_unused_labels_out_and_says_each_cell_in_words():
    confusion = np.array([[3, 0, 1], [0, 0, 0], [0, 0, 2]])
    rows = figures.matrix(confusion, ["a", "b", "c"], figures.most_confused(confusion))
    assert [(label, total, [cell.crops for cell in cells]) for label, total, cells in rows] == [
        ("a", 4, [3, 1]),
        ("c", 2, [0, 2]),
    ]
    assert rows[0][2][1].words == "1 of 4 a (25%) named c"
    assert [cell.shade for _, _, cells in rows for cell in cells] == ["r8", "w4", "", "r9"]
    assert rows[0][2][1].number == 0 * 3 + 2


def test_of_too_many_labels_those_with_most_mistakes_are_shown():
    confusion = np.array([[9, 0, 0], [0, 5, 2], [0, 0, 7]])
    assert figures.most_confused(confusion, 2) == [1, 2]
    assert figures.most_confused(confusion) == [0, 1, 2]
    assert figures.most_confused(np.zeros((3, 3), int)) == []


def test_text_on_every_shade_is_read():
    def luminance(background):
        parts = [int(part) / 255 for part in background[4:-1].split()]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return float(np.dot([0.2126, 0.7152, 0.0722], linear))

    ink = luminance("rgb(29 38 33)")
    for shade in figures.shades():
        own = luminance(shade.background)
        contrast = 1.05 / (own + 0.05) if shade.dark else (own + 0.05) / (ink + 0.05)
        assert contrast > 4, shade  # WCAG asks 3 of large text and of graphics, 4.5 of small text


def test_confused_pairs_come_most_frequent_first():
    confusion = np.array([[5, 2, 0], [3, 1, 0], [0, 1, 9]])
    pairs = figures.confused_pairs(confusion, ["a", "b", "c"])
    assert [(pair.label, pair.predicted, pair.crops) for pair in pairs] == [("b", "a", 3), ("a", "b", 2), ("c", "b", 1)]
    assert pairs[0].share == 0.75
    assert figures.mistaken_for(np.eye(2, dtype=int), ["a", "b"]) == [None, None]


def test_curves_stay_inside_the_drawing_and_skip_what_is_missing():
    epochs = [
        {"epoch": 0, "val_loss": 2.3},
        {"epoch": 1, "val_loss": float("nan"), "train_loss": 1.0},
        {"epoch": 2, "val_loss": 0.4, "train_loss": None},
    ]
    (chart,) = figures.learning_curves(epochs, 2)
    assert [curve.name for curve in chart.curves] == ["val", "train"]
    assert [len(curve.dots) for curve in chart.curves] == [2, 1]
    for curve in chart.curves:
        for x, y, _ in curve.dots:
            assert figures.LEFT <= x <= figures.WIDTH
            assert figures.TOP <= y <= figures.HEIGHT - figures.BOTTOM
    assert chart.best == chart.x_ticks[-1][0]
    assert figures.learning_curves([], None) == []
    assert figures.learning_curves([{"epoch": 0, "val_loss": 1.0}], "x")[0].best is None


def crops(rows):
    return pl.DataFrame(rows, schema=["crop_id", "label", "predicted", "score", "location"], orient="row")


def test_wrong_examples_are_the_most_confident():
    table = crops(
        [("a", "x", "y", 0.6, "p"), ("b", "x", "x", 0.99, "p"), ("c", "x", "y", 0.9, "p"), ("d", "y", "x", 0.9, "p")]
    )
    assert gallery.choose_wrong(table, 2)["crop_id"].to_list() == ["c", "d"]


def test_right_examples_are_even_over_labels_and_locations():
    rows = [(f"x{n}", "x", "x", 0.9, "p") for n in range(50)]
    rows += [("x far", "x", "x", 0.9, "q"), ("y", "y", "y", 0.9, "p"), ("z", "z", "y", 0.9, "p")]
    found = gallery.choose_right(crops(rows), 3, seed=0)["crop_id"].to_list()
    assert len(found) == 3
    assert {"x far", "y"} <= set(found)
    assert found == gallery.choose_right(crops(rows), 3, seed=0)["crop_id"].to_list()
    assert gallery.choose_right(crops(rows).clear(), 3, seed=0).height == 0


def test_a_crop_without_a_file_keeps_its_caption(tmp_path):
    (example,) = gallery.show(crops([("gone.jpg", "x", "y", 0.6, "p")]), tmp_path)
    assert (example.label, example.predicted, example.picture) == ("x", "y", "")
