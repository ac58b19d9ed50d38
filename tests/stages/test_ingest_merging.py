"""Several files of the same images: ids by name, images by id or by path, boxes by id, the newest wins, counted."""

import polars as pl
import pytest

from exports import animl_image, animl_object, write
from trapline.core import boxes, merging, places
from trapline.core.config import IngestConfig
from trapline.core.log import Log
from trapline.core.schemas import TABLES
from trapline.formats.annotations import IMAGE_COLUMNS, OBJECT_COLUMNS, complete
from trapline.stages.ingest import AnnotationFile, ingest

OLD, NEW = "2022-01-01T00:00:00Z", "2025-01-01T00:00:00Z"


@pytest.fixture
def merged(tmp_path):
    """merged((images, objects, more), ...) writes exports and ingests them together; returns tables and log."""

    def run(*exports):
        files = []
        for n, (images, objects, more) in enumerate(exports):
            files.append(AnnotationFile("is", write(tmp_path / f"{n}.json", images, objects, **more)))
        log = Log()
        found = ingest(files, IngestConfig(), log=log)
        for name in ("images", "locations", "boxes", "labels"):
            TABLES[name].check(getattr(found, name))
        return found, log

    return run


def test_an_export_of_2022_merges_with_one_of_2025(merged):
    """Other layout, other paths, other category ids; the same image and annotation ids."""
    old = (
        [animl_image(id, since_2023=False) for id in ("e1", "e2", "e3")],
        [
            animl_object("o1", "e1", "fox", [1, 1, 9, 9]),
            animl_object("o2", "e1", "skunk", [2, 2, 9, 9]),
            animl_object("o3", "e2", "fox", [3, 3, 9, 9]),
            animl_object("o4", "e2", "fox", [4, 4, 9, 9]),
            animl_object("o5", "e3", "skunk", [5, 5, 9, 9]),
            animl_object("o7", "e2", "skunk", [7, 7, 9, 9]),
        ],
        {"created": OLD, "names": ("empty", "skunk", "fox")},
    )
    new = (
        [animl_image(id, "Creek") for id in ("e1", "e2", "e4")],
        [
            animl_object("o1", "e1", "owl", [1, 1, 9, 9]),  # another label
            animl_object("o3", "e2", "fox", [3, 3, 9, 9]),  # as it was; o2 and o4 are gone
            animl_object("o6", "e4", "fox", [6, 6, 9, 9]),
            animl_object("o7", "e2", "skunk", [7, 7, 9, 9]),  # as it was, though its category id is another
        ],
        {"created": NEW, "names": ("empty", "owl", "fox", "skunk")},
    )
    for exports in ((old, new), (new, old)):
        found, log = merged(*exports)
        joined = found.boxes.join(found.labels, on="box_id").select("box_id", "source_label", "box_x")
        assert joined.sort("box_id").rows() == [
            ("is/o1", "owl", 1.0),
            ("is/o3", "fox", 3.0),
            ("is/o5", "skunk", 5.0),  # of an image that only the old export lists
            ("is/o6", "fox", 6.0),
            ("is/o7", "skunk", 7.0),
        ]
        assert found.images.select("image_id", "file_name").rows() == [
            ("is/e1", "islands/cam1/creek/e1.jpg"),
            ("is/e2", "islands/cam1/creek/e2.jpg"),
            ("is/e3", "cam1/IMG_0001_e3.jpg"),
            ("is/e4", "islands/cam1/creek/e4.jpg"),
        ]
        assert [str(account) for account in log.accounts] == [
            "6 images listed -> 4 images; left out 2 listed again (the newest export wins)",
            "10 annotations -> 5 boxes; left out 5 of an image listed in a newer export",
        ]
        assert log.notes == [
            "5 annotations of older exports: in the newest 2 stand unchanged, 1 with another label or box, 2 are gone."
        ]


def test_what_the_newest_is_silent_of_comes_from_older_ones(merged):
    old = ([animl_image("e1", "Ridge", width=800, height=600)], [], {"created": OLD})
    new = ([animl_image("e1", "absent", width="absent", height="absent", datetime="absent")], [], {"created": NEW})
    found, _ = merged(new, old)
    row = found.images.row(0, named=True)
    assert (row["location_id"], row["width_px"], row["height_px"]) == ("Ridge", 800, 600)
    assert row["captured_at"] is not None


def test_images_are_one_by_path_too(merged):
    """A set published again with other ids: the newest ids, labels and boxes."""
    old = ([{"id": 1, "file_name": "S1/a.jpg"}], [animl_object("7", "1", "fox", [1, 1, 5, 5])], {"created": OLD})
    more = {"created": NEW, "names": ("empty", "owl")}
    new = ([{"id": "x", "file_name": "./S1//a.jpg"}], [animl_object("8", "x", "owl", [2, 2, 5, 5])], more)
    found, log = merged(old, new)
    assert found.images["image_id"].to_list() == ["is/x"]
    assert found.labels["source_label"].to_list() == ["owl"]
    assert log.accounts[0].left_out == {"with the same file name": 1}
    assert log.accounts[1].left_out == {"of an image listed in a newer export": 1}


def test_one_file_under_two_ids_keeps_all_its_boxes(merged):
    images = [{"id": "1", "file_name": "a.jpg"}, {"id": "2", "file_name": "a.jpg"}]
    objects = [animl_object("o1", "1", "fox", [1, 1, 5, 5]), animl_object("o2", "2", "skunk", [2, 2, 5, 5])]
    found, _ = merged((images, objects, {}))
    assert found.boxes.select("box_id", "image_id").rows() == [("is/o1", "is/1"), ("is/o2", "is/1")]


def test_an_id_used_twice_in_one_file_is_counted(merged):
    images = [{"id": "1", "file_name": "a.jpg"}, {"id": "1", "file_name": "b.jpg"}]
    found, log = merged((images, [], {}))
    assert found.images["file_name"].to_list() == ["a.jpg"]
    assert log.accounts[0].left_out == {"with an id used before in the same export": 1}


def frames(*files):
    """Images and objects as ingest tags them; each file is (rank, detections, images, objects)."""
    listed, objects = [], []
    for rank, detections, images, things in files:
        tags = {"dataset": pl.lit("is"), "rank": pl.lit(rank, pl.Int64), "detections": pl.lit(detections)}
        listed.append(complete(pl.DataFrame(images), IMAGE_COLUMNS).with_columns(**tags))
        objects.append(complete(pl.DataFrame(things), OBJECT_COLUMNS).with_columns(**tags))
    return pl.concat(listed), pl.concat(objects)


def test_a_detectors_file_adds_boxes_and_replaces_nothing():
    """The newest file of all is a detector's; it knows the image by the path that only the old export used."""
    detection = {"image": "old/a.jpg", "source": "md_v5", "unit": "fraction", "frame": "displayed", "box_conf": 0.9}
    detection |= {"box_x": 0.1, "box_y": 0.1, "box_w": 0.5, "box_h": 0.5}
    label = {"source_id": "o1", "image": "e1", "source_label": "fox"}
    found = frames(
        (0, True, [{"source_id": "old/a.jpg", "file_name": "old/a.jpg"}], [detection]),
        (1, False, [{"source_id": "e1", "file_name": "new/a.jpg"}], [label]),
        (2, False, [{"source_id": "e1", "file_name": "old/a.jpg", "location": "Ridge"}], []),
    )
    log = Log()
    images, objects = merging.merge(*found, log)
    assert images.select("image_id", "file_name", "location").rows() == [("is/e1", "new/a.jpg", "Ridge")]
    made, labels = boxes.boxes_and_labels(objects, IngestConfig(), log)
    assert made.select("image_id", "source", "conf").rows() == [("is/e1", "md_v5", 0.9)]
    assert labels.select("image_id", "box_id", "source_label").rows() == [("is/e1", None, "fox")]


def test_a_chain_of_ids_and_paths_is_one_image():
    """Joined in one pass over a long chain, where each row shares an id with the one before or a path."""
    chain = [{"source_id": str((n + 1) // 2), "file_name": f"{n // 2}.jpg"} for n in range(2001)]
    images, _ = merging.merge(*frames((0, False, chain, [])), Log())
    assert images["image_id"].to_list() == ["is/0"]


def test_coordinates_reach_the_locations():
    given = [
        {"source_id": str(n), "file_name": f"{n}.jpg", "location": "A", "latitude": lat}
        for n, lat in enumerate((None, 1.5))
    ]
    images, _ = merging.merge(*frames((0, False, given, [])), Log())
    named = places.name_places(images, Log())
    assert places.locations(named).rows() == [("is", "A", None, 1.5, None, None)]
