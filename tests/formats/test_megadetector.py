import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trapline.core.errors import InputError
from trapline.formats import megadetector

DATA = Path(__file__).parents[2] / ".." / "shared" / "data"


def results(images, *, version: str | float = "1.4", categories=None, detector="md_v5a.0.0.pt", **rest):
    return {
        "info": {"format_version": version, "detector": detector},
        "detection_categories": categories or {"1": "animal", "2": "person", "3": "vehicle"},
        "images": images,
        **rest,
    }


@pytest.fixture
def read(tmp_path):
    def run(content):
        path = tmp_path / "md.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return megadetector.read_annotations(path)

    return run


def found(conf, bbox=(0.1, 0.2, 0.3, 0.4), category="1", **rest):
    return {"category": category, "conf": conf, "bbox": list(bbox), **rest}


def of(annotations, *columns):
    return annotations.objects.select(columns).rows()


@pytest.mark.parametrize("version", ["1.0", 1.2, "1.3", "1.4", "1.6", "3.0"])
def test_every_version_reads_alike(read, version):
    image = {"file": "a\\b.jpg", "detections": [found(0.9, frame=3)], "max_detection_conf": 0.9}
    got = read(results([image], version=version))
    assert got.images["file_name"].to_list() == ["a/b.jpg"]
    assert of(got, "box_x", "box_w", "unit", "frame", "source", "box_conf", "source_label") == [
        (0.1, 0.3, "fraction", "displayed", "mdv5a.0", 0.9, None)
    ]
    assert got.detections


def test_a_failure_is_no_empty_image(read):
    got = read(
        results(
            [
                {"file": "a.jpg", "failure": "Failure image access", "detections": None},
                {"file": "b.jpg", "detections": []},
            ]
        )
    )
    assert got.images["file_name"].to_list() == ["a.jpg", "b.jpg"]
    assert got.objects.height == 0
    assert "failed on 1 images (first: a.jpg: Failure image access)" in got.notes[0]


def test_labels_are_what_the_file_says_they_are(read):
    image = {
        "file": "a.jpg",
        "detections": [
            found(0.9, classifications=[["0", 0.6], ["1", 0.7]]),  # a machine's label, out of order
            found(0.8),  # an animal without a name
            found(0.7, category="2"),  # the detector's own word for it
            found(0.6, category="9"),
        ],
    }
    got = read(results([image], classification_categories={"0": "fox", "1": "skunk"}))
    assert of(got, "source_label", "conf", "validated", "problem") == [
        ("skunk", 0.7, False, None),
        (None, None, None, None),
        ("person", 0.7, False, None),
        (None, None, None, "with an unknown category id"),
    ]


def test_the_reference_chains_conversion_holds_peoples_labels(read):
    """Its detection categories are species, its version a number, and an image without detections was seen empty."""
    images = [
        {
            "file": "a.jpg",
            "location": 7,
            "id": "e1:a",
            "detections": [found(1.0, category="2")],
            "is_ground_truth": True,
        },
        {"file": "b.jpg", "location": "Ridge", "id": "e2:b", "detections": []},
    ]
    got = read(results(images, version=1.2, categories={"1": "empty", "2": "fox"}, detector="cct_to_md"))
    assert got.images.select("source_id", "location").rows() == [("e1:a", "7"), ("e2:b", "Ridge")]
    assert of(got, "image", "source_label", "source", "conf", "validated") == [
        ("e1:a", "fox", "human", None, None),
        ("e2:b", "empty", None, None, None),
    ]
    assert not got.detections


def test_videos_are_left_out_and_named(read):
    got = read(results([{"file": "a.MP4", "detections": [], "frame_rate": 30.0}, {"file": "b.jpg", "detections": []}]))
    assert got.images["file_name"].to_list() == ["b.jpg"]
    assert "1 videos" in got.notes[0]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"images": nothing}', "not valid JSON"),
        ("[]", "is not a MegaDetector results file"),
        ('{"images": [{"file": "a.jpg", "detec', "ends too early"),
        ('{"images": []}', "detection_categories"),
        (json.dumps(results([{"detections": []}])), r"`file` - at `$.images[0]`"),
        (
            json.dumps(results([{"file": "a", "detections": [{"category": "1", "conf": "high"}]}])),
            r"$.images[0].detections",
        ),
    ],
)
def test_errors_name_the_file_and_the_place(read, content, says):
    with pytest.raises(InputError) as error:
        read(content)
    assert says in str(error.value)
    assert "md.json" in str(error.value)


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("md_v5a.0.0.pt", "mdv5a.0"),
        ("md_v4.1.0", "mdv4.1"),
        ("MDV6-yolov9-c", "MDV6-yolov9-c"),
        ("../evil name", "evil-name"),
        ("", "detector"),
    ],
)
def test_a_detector_can_stand_in_a_crops_name(name, slug):
    assert megadetector.detector_slug(name) == slug


def test_a_real_results_file():
    path = DATA / "megadetector_output.json"
    if not path.exists():
        pytest.skip("the development data are absent: no megadetector_output.json beside the checkout")
    content = json.loads(path.read_text())
    results = megadetector.read(path)
    names = content["detection_categories"]
    listed = [
        (image["file"], names[box["category"]], box["conf"], *box["bbox"])
        for image in content["images"]
        for box in image.get("detections") or ()
    ]
    kept = results.detections.unique(["file", "number"], maintain_order=True)
    assert kept.select("file", "category", "conf", "box_x", "box_y", "box_w", "box_h").rows() == listed


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["file", "detections", "category", "conf", "bbox", "id", "x"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@settings(max_examples=200, derandomize=True)
@given(
    content=st.fixed_dictionaries({"images": st.lists(JSON, max_size=3), "detection_categories": JSON, "info": JSON})
)
def test_rubbish_is_read_or_refused_in_words(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("md") / "md.json"
    path.write_text(json.dumps(content))
    try:
        got = megadetector.read_annotations(path)
    except InputError as error:
        assert str(path) in str(error)  # noqa: PT017
    else:
        assert isinstance(got.images, pl.DataFrame)


def test_a_file_that_ends_too_early_gives_what_is_whole(read):
    content = json.dumps(
        {**results([]), "images": [{"file": f"{n}.jpg", "detections": [found(0.9)]} for n in range(3)]}
    )
    got = read(content[: content.index('"2.jpg"')])
    assert got.images["file_name"].to_list() == ["0.jpg", "1.jpg"]
    assert got.objects.height == 2
    assert "the file ends too early, in `images`; 2 whole images were recovered." in got.notes


def test_a_file_listed_twice_counts_once(read):
    first, second = ([found(0.9), found(0.8)], [found(0.7)])
    image = {"file": "a.jpg", "detections": first}
    got = read(results([image, {"file": "b.jpg", "detections": first}, {"file": ".\\a.jpg", "detections": second}]))
    assert got.images["file_name"].to_list() == ["a.jpg", "b.jpg"]
    assert of(got, "image", "box_conf") == [("a.jpg", 0.9), ("a.jpg", 0.8), ("b.jpg", 0.9), ("b.jpg", 0.8)]
    got = read(results([image, {"file": "a.jpg", "detections": second}]))
    assert of(got, "box_conf") == [(0.9,), (0.8,)]


def test_a_detector_of_another_threshold_says_so(read):
    content = results([{"file": "a.jpg", "detections": [found(0.9)]}])
    assert read(content).notes == ()
    content["info"]["detector_metadata"] = {"typical_detection_threshold": 0.8}
    assert "typical threshold is 0.8" in read(content).notes[0]
