import polars as pl

from trapline.core import schemas
from trapline.core.decisions import decide
from trapline.core.log import Log

SIDES = dict.fromkeys(("box_x", "box_y", "box_w", "box_h"), 1.0) | {"unit": "px", "frame": "auto", "source": "human"}
BOXES = pl.DataFrame([{"box_id": f"b{n}", "image_id": "i", **SIDES} for n in range(5)], schema=schemas.BOXES.columns)
LABELS = pl.DataFrame(
    [
        {
            "image_id": "i",
            "box_id": box,
            "source_label": label,
            "conf": 0.5,
            "validated": False,
            "sequence_level": False,
        }
        for box, label in (("b0", "fox"), ("b1", "fox"), ("b1", "skunk"), ("b2", "fox"), ("b3", "fox"))
    ],
    schema=schemas.LABELS.columns,
)


def test_decisions_become_annotations():
    rows = [
        ("b0", "accept", None, "Ada"),
        ("b1", "relabel", "wolf", "Ada"),
        ("b2", "exclude", None, "Ada"),
        ("b3", "unsure", None, "Ada"),
        ("b4", "relabel", "owl", "Bo"),
        ("gone", "accept", None, "Bo"),
    ]
    corrections = pl.DataFrame(rows, schema=["box_id", "action", "to", "who"], orient="row")
    log = Log()
    boxes, labels = decide(BOXES, LABELS, corrections, log)
    assert boxes["box_id"].to_list() == ["b0", "b1", "b3", "b4"]
    assert labels.select("box_id", "source_label", "conf", "validated", "validated_by").rows() == [
        ("b0", "fox", None, True, "Ada"),
        ("b1", "wolf", None, True, "Ada"),
        ("b3", "fox", 0.5, False, None),
        ("b4", "owl", None, True, "Bo"),
    ]
    assert str(log.accounts[0]) == (
        "6 corrections -> 4 applied; left out 1 of boxes that do not exist, 1 where the person was unsure"
    )


def test_decisions_on_a_list_that_name_no_box_say_where_they_go():
    corrections = pl.DataFrame(
        [("a/b.jpg#0", "accept", None, "Ada"), ("gone", "accept", None, "Ada")],
        schema=["box_id", "action", "to", "who"],
        orient="row",
    )
    log = Log()
    decide(BOXES, LABELS, corrections, log)
    assert len(log.warnings) == 1
    assert log.warnings[0].startswith("1 decisions are about detections of a list (first: a/b.jpg#0).")
    assert "trapline convert RESULTS.json CORRECTIONS.csv --to cct" in log.warnings[0]
