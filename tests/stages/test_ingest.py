import json
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest

from exports import animl_image, animl_object, content, write
from trapline.core.config import IngestConfig
from trapline.core.errors import InputError
from trapline.core.log import Log
from trapline.core.schemas import TABLES
from trapline.stages.ingest import AnnotationFile, ingest

DATA = Path(__file__).parents[2] / "../shared/data"


@pytest.fixture
def take(tmp_path):
    """take(images, objects, ...) writes an export, or take(a, b) two of them, and ingests; returns tables and log."""

    def run(*exports, **options):
        files = []
        for n, export in enumerate(exports):
            dataset = export.pop("dataset", "is")
            path = write(tmp_path / f"{n}.json", export.pop("images"), export.pop("objects", []), **export)
            files.append(AnnotationFile(dataset, path))
        log = Log()
        found = ingest(files, IngestConfig(**options), log=log)
        for name in ("images", "locations", "boxes", "labels"):
            TABLES[name].check(getattr(found, name))
        return found, log

    return run


def export(images, objects=(), **rest):
    return {"images": images, "objects": list(objects), **rest}


def labels_of(found):
    return found.labels.select("image_id", "box_id", "source_label").rows()


def accounts(log):
    return [str(account) for account in log.accounts]


def test_an_export_becomes_four_tables(take):
    found, log = take(
        export(
            [animl_image("e1:i", "Ridge"), animl_image("e2:i", "Creek", camera="cam2", datetime="absent")],
            [
                animl_object("o1", "e1:i", "fox", confidence=None, validated=True, validated_by="u1"),
                animl_object("o2", "e1:i", "skunk", [1, 2, 3, 4], confidence=0.5, validated=False),
            ],
        )
    )
    seen = datetime(2024, 1, 13, 7, 46)
    assert found.images.rows() == [
        (
            "is/e1:i",
            "is",
            "islands/cam1/ridge/e1-i.jpg",
            "original/e1:i-original.jpg",
            640,
            480,
            seen,
            "-07:00",
            "Ridge",
            "cam1",
            "Ridge",
            "is/e1:i",
        ),
        (
            "is/e2:i",
            "is",
            "islands/cam2/creek/e2-i.jpg",
            "original/e2:i-original.jpg",
            640,
            480,
            None,
            None,
            "Creek",
            "cam2",
            "Creek",
            "is/e2:i",
        ),
    ]
    assert found.locations.rows() == [
        ("is", "Creek", "cam2", None, None, None),
        ("is", "Ridge", "cam1", None, None, None),
    ]
    assert found.boxes.rows() == [
        ("is/o1", "is/e1:i", 10.0, 20.0, 100.0, 50.0, "px", "auto", "human", None),
        ("is/o2", "is/e1:i", 1.0, 2.0, 3.0, 4.0, "px", "auto", "human", 0.5),
    ]
    assert found.labels.rows() == [
        ("is/e1:i", "is/o1", "fox", None, True, "u1", False),
        ("is/e1:i", "is/o2", "skunk", 0.5, False, None, False),
    ]
    assert accounts(log) == ["2 images listed -> 2 images", "2 annotations -> 2 boxes"]
    assert log.warnings == []


def test_empty_gives_a_label_and_no_box(take):
    """Animl draws the full frame around `empty`; the old chain made animals of it."""
    found, log = take(
        export([animl_image("e1"), animl_image("e2")], [
            animl_object("o1", "e1", "empty", [0, 0, 640, 480]),
            animl_object("o2", "e2", "person"),
        ])
    )  # fmt: skip
    assert found.boxes["box_id"].to_list() == ["is/o2"]
    assert labels_of(found) == [("is/e1", None, "empty"), ("is/e2", "is/o2", "person")]
    assert accounts(log)[1] == "2 annotations -> 1 boxes; left out 1 meaning no animal"


def test_what_means_empty_can_be_chosen(take):
    names = ("Nothing Here", "Blank", "fox")
    objects = [animl_object(f"o{n}", "e1", label, [n, n, 9, 9]) for n, label in enumerate(names)]
    given = {"images": [animl_image("e1")], "objects": objects, "names": names}
    assert take(dict(given))[0].boxes["box_id"].to_list() == ["is/o0", "is/o2"]
    assert take(dict(given), empty_labels=("nothing here",))[0].boxes["box_id"].to_list() == ["is/o1", "is/o2"]


def test_several_boxes_of_an_image_are_kept(take):
    """The old chain dropped every image with more than one box, silently: groups, mothers with young."""
    objects = [animl_object(f"o{n}", "e1", "fox", [n, 0, 10, 10]) for n in range(5)]
    found, _ = take(export([animl_image("e1")], objects))
    assert found.boxes["box_x"].to_list() == [0, 1, 2, 3, 4]
    assert found.labels.height == 5


def test_one_box_with_two_labels_is_one_box(take):
    objects = [
        animl_object("o1", "e1", "fox"),
        animl_object("o2", "e1", "skunk"),
        animl_object("o3", "e1", "fox", [0, 0, 5, 5]),
    ]
    found, log = take(export([animl_image("e1")], objects))
    assert found.boxes["box_id"].to_list() == ["is/o1", "is/o3"]
    assert labels_of(found) == [("is/e1", "is/o1", "fox"), ("is/e1", "is/o1", "skunk"), ("is/e1", "is/o3", "fox")]
    assert accounts(log)[1] == "3 annotations -> 2 boxes; left out 1 naming a box again"


def test_boxes_that_are_none_leave_a_label(take):
    given = [[None] * 4, [0, 0, 0, 5], [0, 0, 5, -5], [1, 2, 3], [1e308, 1, 1, 1]]
    objects = [animl_object(f"o{n}", "e1", "fox", box) for n, box in enumerate(given)]
    found, log = take(export([animl_image("e1", width="absent", height="absent")], objects))
    assert found.boxes["box_id"].to_list() == ["is/o4"]
    assert ("is/e1", None, "fox") in labels_of(found)
    assert log.accounts[1].left_out == {"with a box of no area": 2, "without a box": 2}


def test_no_box_at_all_and_bursts(take):
    lila = {"id": 1, "image_id": "e1", "label": "fox", "sequence_level_annotation": True}
    found, _ = take(export([{"id": "e1", "file_name": "a.jpg", "location": 26, "seq_id": "s"}], [lila]))
    assert found.labels.rows() == [("is/e1", None, "fox", None, None, None, True)]
    assert found.images.select("location_id", "camera_id", "sequence_id").rows() == [("26", None, "is/seq/s")]


def test_only_validated(take):
    states = [{"validated": True}, {"validated": False}, {"validated": None}, {}]
    objects = [animl_object(f"o{n}", "e1", "fox", [n, 0, 9, 9], **state) for n, state in enumerate(states)]
    given = {"images": [animl_image("e1")], "objects": objects}
    assert take(dict(given))[0].boxes.height == 4
    found, log = take(dict(given), only_validated=True)
    assert found.boxes["box_id"].to_list() == ["is/o0", "is/o2", "is/o3"]  # an export that does not say is taken whole
    assert log.accounts[1].left_out == {"not validated": 1}


def test_annotations_that_point_nowhere_are_counted_and_named(take):
    objects = [
        animl_object("o1", "e1", "fox"),
        animl_object("o2", "e9", "fox"),
        animl_object("o3", "e1", "?", category_id=999),
        animl_object("o4", "e1", " "),
    ]
    found, log = take(export([animl_image("e1")], objects, names=("fox", " ")))
    assert found.boxes["box_id"].to_list() == ["is/o1"]
    assert log.accounts[1].left_out == {
        "pointing to no image": 1,
        "with a blank label": 1,
        "with an unknown category id": 1,
    }
    assert log.warnings == [
        "1 annotations pointing to no image (first: o2, image e9).",
        "1 annotations with a blank label (first: o4, image is/e1).",
        "1 annotations with an unknown category id (first: o3, image is/e1).",
    ]


def test_categories_merge_by_name_never_by_id(take):
    """Ids differ from export to export."""
    first = export([animl_image("e1")], [animl_object("o1", "e1", "fox")], names=("empty", "fox", "skunk"))
    second = export([animl_image("e2")], [animl_object("o2", "e2", "fox")], names=("empty", "skunk", "fox", "owl"))
    found, _ = take(first, second)
    assert labels_of(found) == [("is/e1", "is/o1", "fox"), ("is/e2", "is/o2", "fox")]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("2024-06-01T00:00:00.000Z", "2024-06-02T00:00:00.000Z"),
        ("2024-06-02T01:00:00+00:00", "2024-06-01T23:00:00-07:00"),  # later, whatever its text looks like
        ("", "2024-06-01T00:00:00.000Z"),
        ("last summer", "2019-06-01"),
    ],
)
@pytest.mark.parametrize("newest_first", [False, True])
def test_the_newest_export_wins(take, old, new, newest_first):
    def exported(created, label, box):
        return export([animl_image("e1")], [animl_object("o1", "e1", label, box)], created=created)

    older, newer = exported(old, "fox", [0, 0, 1, 1]), exported(new, "skunk", [5, 5, 9, 9])
    found, log = take(*((newer, older) if newest_first else (older, newer)))
    assert labels_of(found) == [("is/e1", "is/o1", "skunk")]
    assert found.boxes["box_x"].to_list() == [5.0]
    assert accounts(log) == [
        "2 images listed -> 1 images; left out 1 listed again (the newest export wins)",
        "2 annotations -> 1 boxes; left out 1 of an image listed in a newer export",
    ]


def test_exports_of_one_moment_the_last_named_wins(take):
    both = [export([animl_image("e1")], [animl_object("o1", "e1", label)]) for label in ("fox", "skunk")]
    assert labels_of(take(*both)[0]) == [("is/e1", "is/o1", "skunk")]


def test_datasets_stay_apart(take):
    both = [export([animl_image("e1")], [animl_object("o1", "e1", "fox")], dataset=name) for name in ("a", "b")]
    found, _ = take(*both)
    assert found.boxes["box_id"].to_list() == ["a/o1", "b/o1"]
    assert found.images["image_id"].to_list() == ["a/e1", "b/e1"]
    assert found.locations.select("dataset", "location_id").rows() == [("a", "Ridge"), ("b", "Ridge")]


def test_annotation_ids_that_repeat_lose_no_box(take):
    """LILA's files number their annotations from 1, each file anew."""
    first = export([{"id": "a", "file_name": "a.jpg"}], [animl_object("1", "a", "fox", [0, 0, 5, 5])])
    second = export(
        [{"id": "b", "file_name": "b.jpg"}],
        [animl_object("1", "b", "skunk", [1, 1, 5, 5]), animl_object("1", "b", "fox", [2, 2, 5, 5])],
    )
    second["objects"].append({"image_id": "b", "label": "person", "bbox": [3, 3, 5, 5]})
    found, log = take(first, second)
    assert found.boxes.select("image_id", "box_x").sort("box_x").rows() == [
        ("is/a", 0.0), ("is/b", 1.0), ("is/b", 2.0), ("is/b", 3.0)
    ]  # fmt: skip
    joined = found.boxes.join(found.labels, on=["box_id", "image_id"]).sort("box_x")
    assert joined["source_label"].to_list() == ["fox", "skunk", "fox", "person"]
    assert any("3 boxes share their annotation id with another box (first: 1)" in line for line in log.warnings)


def test_unsafe_names_are_left_out_and_shown(take):
    names = ["../a.jpg", "/etc/a.jpg", "C:\\a.jpg", "nul.jpg", "x" * 300 + ".jpg", "", "fine.jpg"]
    images = [{"id": str(n), "file_name": name} for n, name in enumerate(names)]
    found, log = take(export(images, [animl_object("o1", "0", "fox"), animl_object("o2", "6", "fox")]))
    assert found.images["file_name"].to_list() == ["fine.jpg"]
    assert found.boxes["box_id"].to_list() == ["is/o2"]
    assert log.accounts[0].left_out == {
        "file name climbs out of its folder": 1,
        "file name is an absolute path": 2,
        "file name is empty": 1,
        "file name is reserved by Windows": 1,
        "file name is too long": 1,
    }
    assert log.accounts[1].left_out == {"of an image left out": 1}
    assert sum("images left out: file name" in line for line in log.warnings) == 5


def test_two_images_of_one_file_are_one(take):
    images = [{"id": "1", "file_name": "a\\b.jpg"}, {"id": "2", "file_name": "a/b.jpg"}]
    found, log = take(export(images))
    assert found.images["image_id"].to_list() == ["is/1"]
    assert log.accounts[0].left_out == {"with the same file name": 1}


def test_no_usable_image_is_an_error(take):
    for images in ([{"id": "1", "file_name": "../a.jpg"}], []):
        with pytest.raises(InputError, match=r"no usable image is listed in 0.json"):
            take(export(images, [animl_object("o1", "1", "fox")]))


def test_all_files_that_fail_are_named(tmp_path):
    write(tmp_path / "good.json", [animl_image("e1")], [])
    (tmp_path / "bad.json").write_text("{")
    files = [AnnotationFile("is", tmp_path / name) for name in ("bad.json", "good.json", "none.json")]
    with pytest.raises(InputError) as caught:
        ingest(files, IngestConfig(), log=Log())
    assert str(caught.value).startswith("2 of 3 annotation files cannot be used:")
    assert len(caught.value.problems) == 2
    assert {"bad.json" in problem or "none.json" in problem for problem in caught.value.problems} == {True}


def test_a_name_at_two_cameras_is_two_places(take):
    images = [
        animl_image("e1", "Ridge", camera="cam1"),
        animl_image("e2", "Ridge", camera="cam2"),
        animl_image("e3", "Creek", camera="cam2"),
        animl_image("e4", "Ridge", file_name="loose.jpg"),
        animl_image("e5", "", camera="cam3"),
        {"id": "e6", "file_name": "lost.jpg"},
    ]
    found, log = take(export(images))
    assert found.images.select("location_id", "camera_id", "deployment_id").rows() == [
        ("cam1/Ridge", "cam1", "Ridge"),
        ("cam2/Ridge", "cam2", "Ridge"),
        ("Creek", "cam2", "Creek"),
        ("Ridge", None, "Ridge"),
        ("cam3", "cam3", None),
        (None, None, None),
    ]
    assert log.warnings == [
        "1 location names are used by several cameras (first: Ridge); they are kept apart as <camera>/<location>.",
        "1 of 6 images have no location; they are grouped by sequence.",
    ]


def at(id, time, camera="cam1", **changes):
    return animl_image(id, camera=camera, datetime=time, **changes)


def test_frames_close_in_time_are_one_sequence(take):
    images = [
        at("e3", "2024-01-13T07:47:00.000-07:00"),  # 60 s after e2: the last frame that still belongs
        at("e1", "2024-01-13T07:45:58.000-07:00"),
        at("e2", "2024-01-13T07:46:00.000-07:00"),
        at("e4", "2024-01-13T07:48:00.500-07:00"),
        at("f1", "2024-01-13T07:46:00.000-07:00", camera="cam2"),
        at("g1", "", camera="cam2"),
        at("g2", "", camera="cam2"),
    ]
    found, _ = take(export(images))
    assert dict(found.images.select("image_id", "sequence_id").rows()) == {
        "is/e1": "is/e1", "is/e2": "is/e1", "is/e3": "is/e1", "is/e4": "is/e4",
        "is/f1": "is/f1", "is/g1": "is/g1", "is/g2": "is/g2",
    }  # fmt: skip
    closer, _ = take(export(images), sequence_gap_s=10)
    assert dict(closer.images.select("image_id", "sequence_id").rows())["is/e3"] == "is/e3"


def test_deployments_of_one_camera_share_their_sequences(take):
    found, _ = take(
        export([at("e1", "2024-01-13 07:46:00", location="A"), at("e2", "2024-01-13 07:46:05", location="B")])
    )
    assert found.images["sequence_id"].to_list() == ["is/e1", "is/e1"]


def test_the_sources_own_sequences_count(take):
    images = [
        {"id": "a", "file_name": "a.jpg", "seq_id": "s1", "location": 1, "datetime": "2014-06-05 06:07:08"},
        {"id": "b", "file_name": "b.jpg", "seq_id": "s1", "location": 1, "datetime": "2014-06-05 09:07:08"},
        {"id": "c", "file_name": "c.jpg", "seq_id": 2, "location": 1, "datetime": "2014-06-05 06:07:09"},
    ]
    found, _ = take(export(images))
    assert found.images["sequence_id"].to_list() == ["is/seq/s1", "is/seq/s1", "is/seq/2"]


@pytest.mark.parametrize(
    "text",
    [
        "2024-01-13T07:46:05.000-07:00",
        "2024-01-13T07:46:05Z",
        "2024-01-13T07:46:05.123456+0530",
        "2024-01-13 07:46:05",
        " 2024-01-13 07:46:05 UTC ",
        "2024:01:13 07:46:05",
        "1/13/2024 7:46:05",
        "01/13/2024 07:46:05",
        "Sat Jan 13 07:46:05 2024",
    ],
)
def test_time_layouts(take, text):
    found, log = take(export([at("e1", text)]))
    assert found.images["captured_at"].dt.truncate("1s").to_list() == [datetime(2024, 1, 13, 7, 46, 5)]
    assert log.warnings == []


@pytest.mark.parametrize("text", ["2024-01-13 07:46", "1/13/2024 07:46"])
def test_time_layouts_without_seconds(take, text):
    assert take(export([at("e1", text)]))[0].images["captured_at"].to_list() == [datetime(2024, 1, 13, 7, 46)]


@pytest.mark.parametrize("text", ["yesterday", "2024-13-45 07:46:05", "0000-00-00 00:00:00"])
def test_a_time_that_cannot_be_read_is_told(take, text):
    found, log = take(export([at("e1", text), at("e2", "2024-01-13 07:46:05")]))
    assert found.images["captured_at"].null_count() == 1
    assert log.warnings == [f"1 images have a time stamp that cannot be read (first: {text!r})."]


def test_order_of_the_file_does_not_matter(take):
    images = [animl_image(f"e{n}", f"Site {n % 3}") for n in range(9)]
    objects = [animl_object(f"o{n}", f"e{n % 9}", "fox", [n, 0, 5, 5]) for n in range(20)]
    found, _ = take(export(images, objects))
    again, _ = take(export(images[::-1], objects[::-1]))
    for name in ("images", "locations", "boxes", "labels"):
        assert getattr(found, name).equals(getattr(again, name))


@pytest.mark.parametrize(
    ("name", "boxes", "locations", "labels"),
    [
        ("semireal/export.json", 1000, 47, 8),
        ("photos5/photos5_cct.json", 587, 24, 5),
    ],
)
def test_real_exports(name, boxes, locations, labels):
    path = DATA / name
    if not path.exists():
        pytest.skip(f"real annotations are absent: {path}")
    found = ingest([AnnotationFile("real", path)], IngestConfig(), log=Log())
    assert found.locations.height == locations
    named = found.labels.filter(pl.col("box_id").is_not_null())
    assert (found.boxes.height, named["source_label"].n_unique()) == (boxes, labels)


def test_content_is_what_animl_writes():
    """The exports of these tests have the fields that FORMATS.md lists."""
    data = content([animl_image("e1:i")], [animl_object("o1", "e1:i", "fox")])
    assert list(data) == ["images", "annotations", "categories", "info"]
    assert data["categories"][0] == {"id": 0, "name": "empty"}
    assert data["annotations"][0]["category_id"] == 1


def test_signatures_of_urls_are_not_stored(take):
    """A pre-signed URL lets in whoever reads the table."""
    signed = "https://me:hush@host/a%20b.jpg?X-Amz-Signature=hush&X-Amz-Credential=me&v=2"
    found, _ = take({"images": [animl_image("p:1", serving_bucket_key=signed), animl_image("p:2")]})
    assert found.images["uri"].to_list() == ["https://host/a%20b.jpg?v=2", "original/p:2-original.jpg"]


def test_a_detection_without_area_or_name_is_counted_and_labels_nothing(tmp_path):
    """Found by the fuzzer: it has no label that could be the image's."""
    box = {"category": "1", "conf": 0.9, "bbox": [0.1, 0.2, 0, 0.4]}
    results = {"info": {}, "detection_categories": {"1": "animal"}, "images": [{"file": "a.jpg", "detections": [box]}]}
    (tmp_path / "md.json").write_text(json.dumps(results))
    log = Log()
    found = ingest([AnnotationFile("is", tmp_path / "md.json")], IngestConfig(), log=log)
    assert (found.images.height, found.boxes.height, found.labels.height) == (1, 0, 0)
    assert "1 annotations -> 0 boxes; left out 1 with a box of no area" in accounts(log)
