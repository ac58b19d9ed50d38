import json

import pytest

from trapline.core.errors import InputError
from trapline.formats import queried_images

CONTENT = {
    "is/cam/a.jpg": {
        "dataset": "is",
        "location": 7,
        "class": "fox",
        "bbox": [
            {"category": "animal", "bbox": [0.1, 0.2, 0.3, 0.4]},
            {"category": "animal", "bbox": [0, 0, 1, 1], "confidence": 0.8},
        ],
        "label": ["fox"],
    },
    "is/cam/b.jpg": {"dataset": "is", "location": "Ridge", "class": "skunk", "label": ["skunk", "night"]},
    "other/c.jpg": {"dataset": "other", "location": "", "class": "fox", "label": ["fox"]},
}


@pytest.fixture
def path(tmp_path):
    def write(content):
        (tmp_path / "queried_images.json").write_text(json.dumps(content))
        return tmp_path / "queried_images.json"

    return write


def test_labels_belong_to_every_box_of_their_image(path):
    file = path(CONTENT)
    assert queried_images.datasets(file) == ["is", "other"]
    got = queried_images.read(file, "is")
    assert got.images.select("file_name", "location").rows() == [("cam/a.jpg", "7"), ("cam/b.jpg", "Ridge")]
    assert got.objects.select("image", "source_label", "box_x", "source", "box_conf").rows() == [
        ("cam/a.jpg", "fox", 0.1, "human", None),
        ("cam/a.jpg", "fox", 0.0, "detector", 0.8),
        ("cam/b.jpg", "skunk", None, None, None),
        ("cam/b.jpg", "night", None, None, None),
    ]


@pytest.mark.parametrize(
    ("content", "says"),
    [({}, "lists no image"), ({"a": {"location": "x"}}, "`dataset`"), ([], "queried_images.json of the old chain")],
)
def test_other_files_are_refused(path, content, says):
    with pytest.raises(InputError) as error:
        queried_images.read(path(content), "is")
    assert says in str(error.value)
