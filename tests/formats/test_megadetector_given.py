"""A results file that is completed: what is odd in it, and that nothing is lost."""

import io
import json

import numpy as np
import pytest
from hypothesis import given as given_variant
from hypothesis import settings

from fuzzing import json_variants, megadetector_seeds
from trapline.core.errors import InputError
from trapline.formats.megadetector_given import GivenResults
from trapline.formats.megadetector_merged import MergedFile

BOX = {"category": "1", "conf": 1, "bbox": [0.1, 0.2, 0.3, 0.4], "odd": {"x": None}}
ODD = {
    "before": [{"b": 1}, "},", 2.5],
    "images": [
        {"file": "a\\b.jpg", "detections": [BOX, {"category": 1, "conf": 0.5}], "max_detection_conf": 0.7},
        {"file": "c.jpg", "failure": "x", "detections": None, "location": 7, "datetime": "2024:05:01 10:00:00"},
        {"file": "a/b.jpg", "detections": []},
        {"file": "d.jpg", "detections": [BOX]},
    ],
    "detection_categories": {"1": "animal"},
    "classification_categories": {"1": "lynx", "0": "fox"},
    "after": {"deep": [1, {"y": "\u00e9"}]},
    "info": {"format_version": 1.2, "detector": " MDv5 ", "detector_metadata": {"typical_detection_threshold": 0.3}},
}


def given(tmp_path, content):
    path = tmp_path / "md.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return GivenResults(path)


def test_it_is_looked_through_once_and_read_image_by_image(tmp_path):
    found = given(tmp_path, ODD)
    assert len([image for images in found.look() for image in images]) == 4
    assert (found.n_images, found.again, found.detector, found.typical_threshold) == (3, 1, "MDv5", 0.3)
    pieces = list(found.records(2))
    assert [len(piece) for piece in pieces] == [2, 1]
    (first, record), (second, _) = pieces[0]
    assert (first.file, record) == ("a/b.jpg", ODD["images"][0])
    assert [box.box for box in first.boxes] == [(0.1, 0.2, 0.3, 0.4), None]
    assert (second.failure, second.location, second.captured) == ("x", "7", "2024:05:01 10:00:00")


def test_what_is_merged_keeps_all_else_and_its_order(tmp_path):
    found = given(tmp_path, ODD)
    list(found.look())
    stream = io.BytesIO()
    merged = MergedFile(stream, ["elk", "fox"], found, classifier="me", completed="now")
    for piece in found.records(10):
        for image, record in piece:
            merged.add(record, {0: np.array([0.995, 0.005], np.float32)} if image.boxes else {})
    merged.close()
    made = json.loads(stream.getvalue())
    assert list(made) == list(ODD)
    assert made["info"]["format_version"] == "1.6"
    assert made["classification_categories"] == {"1": "lynx", "0": "fox", "2": "elk"}
    assert made["images"][0]["detections"][0].pop("classifications") == [["2", 0.995]]
    assert made["images"][2]["detections"][0].pop("classifications") == [["2", 0.995]]
    assert made["images"] == [ODD["images"][n] for n in (0, 1, 3)]
    assert isinstance(made["images"][0]["detections"][0]["conf"], float)
    assert {key: made[key] for key in ("before", "after")} == {key: ODD[key] for key in ("before", "after")}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("{", "ends too early"),
        ('{"images": [{"file": "a.jpg"}, {"fi', "ends too early, in `images`; mend it first"),
        ('{"images": []}', "missing required field `detection_categories`"),
        ('{"detection_categories": {}}', "missing required field `images`"),
        ('{"images": {"a": 1}, "detection_categories": {}}', "Expected `array`"),
        ('{"images": [], "detection_categories": {"1": 2}}', "Expected `str`"),
        ('{"images": [{"file": "a", "detections": [{}]}]}', "missing required field `category` - at `$.images[0]"),
        ("nonsense", "is not valid JSON"),
    ],
)
def test_what_cannot_be_used_is_said(tmp_path, content, expected):
    found = given(tmp_path, content)
    with pytest.raises(InputError) as raised:
        list(found.look())
    assert expected in str(raised.value)


@settings(max_examples=60)
@given_variant(json_variants(megadetector_seeds()))
def test_any_variant_is_completed_or_refused_in_words(tmp_path_factory, text):
    found = given(tmp_path_factory.mktemp("variant"), text)
    stream = io.BytesIO()
    try:
        names = {image.file for images in found.look() for image in images}
    except InputError:
        return
    merged = MergedFile(stream, ["elk"], found, classifier="me", completed="now")
    written = []
    for piece in found.records(2):
        for image, record in piece:
            merged.add(record, {})
            written.append(image.file)
    merged.close()
    assert sorted(written) == sorted(names)
    before, after = json.loads(text), json.loads(stream.getvalue())
    assert set(before) <= set(after)
    assert len(after["images"]) == len(names)
