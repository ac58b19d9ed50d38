import polars as pl
import pytest

from trapline.core import schemas
from trapline.core.log import Log
from trapline.core.pairing import AnimalRule, pair


def tables(detections, whole, own=(), drawn=()):
    """Boxes from (image, conf) by a detector and by people, labels of images and of boxes."""
    side = dict.fromkeys(("box_x", "box_y", "box_w", "box_h"), 0.1) | {"unit": "fraction", "frame": "displayed"}
    rows = [
        {"box_id": f"b{n}", "image_id": image, **side, "source": "mdv5a.0", "conf": conf}
        for n, (image, conf) in enumerate(detections)
    ]
    rows += [{"box_id": f"h{n}", "image_id": image, **side, "source": "human"} for n, image in enumerate(drawn)]
    boxes = pl.DataFrame(rows, schema=schemas.BOXES.columns)
    marks = [{"image_id": image, "source_label": label, "sequence_level": False} for image, label in whole]
    marks += [
        {"image_id": image, "box_id": box, "source_label": label, "validated": False, "sequence_level": False}
        for image, box, label in own
    ]
    return boxes, pl.DataFrame(marks, schema=schemas.LABELS.columns)


def run(*args, rule: AnimalRule = "all", threshold=0.2, **rest):
    log = Log()
    boxes, labels = pair(*tables(*args, **rest), threshold=threshold, rule=rule, empty_labels=("empty",), log=log)
    pairs = sorted(labels.select("image_id", "box_id", "source_label").rows(), key=str)
    return boxes["box_id"].to_list(), pairs, [str(account) for account in log.accounts]


def test_a_label_meets_its_box_and_is_no_longer_of_the_whole_image():
    assert run([("i", 0.9)], [("i", "fox")]) == (["b0"], [("i", "b0", "fox")], ["1 detections -> 1 boxes"])


def test_what_does_not_pair_is_counted_by_reason():
    detections = [("i", 0.1), ("empty", 0.9), ("two", 0.9), ("none", 0.9), ("human", 0.9)]
    whole = [("i", "fox"), ("empty", "Empty"), ("two", "fox"), ("two", "skunk"), ("human", "person")]
    boxes, labels, accounts = run(detections, whole)
    assert boxes == []
    assert all(box is None for _, box, _ in labels)
    assert len(labels) == 5
    assert accounts == [
        "5 detections -> 0 boxes; left out 1 below the detection threshold, 1 of images labelled with something else, "
        "1 of images that people call empty, 1 of images with several labels, 1 of images without a label"
    ]


@pytest.mark.parametrize(
    ("rule", "kept"),
    [("all", ["b0", "b1", "b3"]), ("best", ["b1", "b3"]), ("single", ["b3"])],
)
def test_the_rule_for_several_animals(rule, kept):
    detections = [("i", 0.5), ("i", 0.9), ("i", 0.1), ("j", 0.4)]
    assert run(detections, [("i", "fox"), ("j", "fox")], rule=rule)[0] == kept


def test_best_of_equals_is_one():
    assert len(run([("i", 0.5), ("i", 0.5)], [("i", "fox")], rule="best")[0]) == 1


def test_people_and_vehicles_are_not_the_animal():
    detections = [("i", 0.9), ("i", 0.8), ("j", 0.9), ("j", 0.9)]
    own = [("i", "b1", "person"), ("j", "b2", "person"), ("j", "b3", "vehicle")]
    boxes, labels, _ = run(detections, [("i", "fox"), ("j", "Human")], own=own)
    assert boxes == ["b0", "b1", "b2", "b3"]
    assert labels == [("i", "b0", "fox"), ("i", "b1", "person"), ("j", "b2", "Human"), ("j", "b3", "vehicle")]


def test_a_persons_label_replaces_a_classifiers():
    boxes, labels, _ = run([("i", 0.9), ("j", 0.9)], [("i", "fox")], own=[("i", "b0", "wolf"), ("j", "b1", "wolf")])
    assert boxes == ["b0", "b1"]
    assert labels == [("i", "b0", "fox"), ("j", "b1", "wolf")]


def test_drawn_boxes_stand_alone():
    boxes, labels, accounts = run([("i", 0.9)], [("i", "fox")], drawn=["i"])
    assert boxes == ["h0"]
    assert labels == [("i", None, "fox")]
    assert "1 of images in which people drew boxes" in accounts[0]
