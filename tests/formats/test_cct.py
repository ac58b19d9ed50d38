import json
import time
from pathlib import Path, PurePosixPath

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exports import animl_image, animl_object, content, lila, write
from trapline.core.config import IngestConfig
from trapline.core.errors import InputError
from trapline.core.log import Log
from trapline.formats import cct
from trapline.formats.annotations import IMAGE_COLUMNS, OBJECT_COLUMNS
from trapline.stages.ingest import AnnotationFile, ingest

TIME = "2024-01-13T07:46:00.000-07:00"
DATA = Path(__file__).parents[2] / "../shared/data"


def read(tmp_path, data):
    path = tmp_path / "export.json"
    path.write_bytes(data if isinstance(data, bytes) else json.dumps(data).encode())
    return cct.read(path)


IMAGE = ["source_id", "file_name", "uri", "captured", "location", "camera", "width_px", "height_px", "sequence"]
BOX = ["box_x", "box_y", "box_w", "box_h"]
OBJECT = ["source_id", "image", "source_label", *BOX, "conf", "validated", "validated_by", "sequence_level"]


def rows_of(found):
    """Images and objects in the columns that CCT can fill; of the others it says nothing."""
    silent = set(IMAGE_COLUMNS) - set(IMAGE)
    assert all(found.images[name].null_count() == found.images.height for name in silent)
    assert found.objects["box_conf"].null_count() == found.objects.height
    assert found.objects.select("unit", "frame", "source").unique().rows() in ([("px", "auto", "human")], [])
    return found.images.select(IMAGE).rows(), found.objects.select(OBJECT).rows()


def test_animl_today(tmp_path):
    objects = [
        animl_object("o1", "e1:islands", "fox", confidence=None, validated=True, validated_by="u1"),
        animl_object("o2", "e1:islands", "skunk", confidence=0.5, validated=False, validated_by="Not Reviewed"),
    ]
    found = cct.read(write(tmp_path / "x.json", [animl_image("e1:islands", "Ridge 2")], objects))
    assert found.created == "2024-06-01T00:00:00.000Z"
    assert rows_of(found)[0] == [
        (
            "e1:islands",
            "islands/cam1/ridge_2/e1-islands.jpg",
            "original/e1:islands-original.jpg",
            "2024-01-13T07:46:00.000-07:00",
            "Ridge 2",
            "cam1",
            640,
            480,
            None,
        )
    ]
    assert rows_of(found)[1] == [
        ("o1", "e1:islands", "fox", 10.0, 20.0, 100.0, 50.0, None, True, "u1", False),
        ("o2", "e1:islands", "skunk", 10.0, 20.0, 100.0, 50.0, 0.5, False, "Not Reviewed", False),
    ]


def test_animl_until_september_2023(tmp_path):
    """The published conversion needs original_relative_path and fails without it; both layouts are read."""
    image = animl_image("e1", since_2023=False, width="absent", height="absent")
    found = cct.read(write(tmp_path / "x.json", [image], [animl_object("o1", "e1", "fox", [None] * 4)]))
    assert rows_of(found)[0] == [
        ("e1", "cam1/IMG_0001_e1.jpg", None, "2024-01-13T07:46:00.000-07:00", "Ridge", "cam1", None, None, None)
    ]
    assert rows_of(found)[1] == [("o1", "e1", "fox", None, None, None, None, None, None, None, False)]


def test_lila(tmp_path):
    found = read(tmp_path, lila())
    assert rows_of(found)[0] == [
        ("a", "S1/a.JPG", None, "2014-06-05 06:07:08", "26", None, 640, 480, "s1"),
        ("12", "S1/b.JPG", None, None, "26", None, None, None, "5"),
    ]
    assert rows_of(found)[1] == [
        ("1", "a", "deer", None, None, None, None, None, None, None, True),
        ("x", "12", "deer", 1.5, 2.0, 30.25, 40.0, None, None, None, False),
        (None, "12", "empty", None, None, None, None, None, None, None, False),
    ]


def test_tables_have_their_declared_columns(tmp_path):
    found = read(tmp_path, {"images": [], "annotations": [], "categories": []})
    assert dict(found.images.schema) == IMAGE_COLUMNS
    assert dict(found.objects.schema) == OBJECT_COLUMNS
    assert found.created == ""


@pytest.mark.parametrize("number", [0, -7, 2**63, 10**40])
def test_numbers_name_things_as_text_does(tmp_path, number):
    changed = lila()
    changed["images"][1]["id"] = changed["annotations"][1]["image_id"] = number
    changed["images"][1]["location"] = changed["images"][1]["seq_id"] = number
    found = read(tmp_path, changed)
    named = found.images.select("source_id", "location", "sequence").row(1)
    assert (*named, found.objects["image"][1]) == (str(number),) * 4


def test_an_unknown_category_has_no_label(tmp_path):
    changed = lila()
    changed["annotations"][1]["category_id"] = 99
    found = read(tmp_path, changed).objects
    assert found["source_label"].to_list() == ["deer", None, "empty"]
    assert found["problem"].to_list() == [None, "with an unknown category id", None]


@pytest.mark.parametrize("size", [0, -3, 0.5, 1e30, 2**64, 2**31])
def test_a_size_that_no_image_has_is_not_stated(tmp_path, size):
    changed = lila()
    changed["images"][0]["width"] = size
    assert read(tmp_path, changed).images["width_px"].to_list() == [None, None]


def test_a_byte_order_mark_is_fine(tmp_path):
    assert read(tmp_path, b"\xef\xbb\xbf" + json.dumps(lila()).encode()).images.height == 2


def at(path, value):
    changed = lila()
    target = changed
    for step in path[:-1]:
        target = target[step]
    if value is KeyError:
        del target[path[-1]]
    else:
        target[path[-1]] = value
    return changed


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is not valid JSON"),
        (b"not json", "is not valid JSON"),
        (b"{", "is not valid JSON: it ends too early, in the top level, before any whole image"),
        (json.dumps(lila()).encode()[:120], "is not valid JSON: it ends too early, in `categories`"),
        (json.dumps(lila()).encode("utf-16"), "is not valid JSON"),
        (b'{"images": [{"id": "\xff\xfe"}]}', "is not valid JSON"),
        (b"[1, 2]", "is not a COCO Camera Traps file: Expected `object`, got `array`"),
        (at(["images"], KeyError), "is not a COCO Camera Traps file: .*missing required field `images`"),
        (at(["categories"], KeyError), "missing required field `categories`"),
        (at(["images"], {}), r"Expected `array`, got `object` - at `\$.images`"),
        (at(["images", 1, "id"], KeyError), r"missing required field `id` - at `\$.images\[1\]`"),
        (at(["images", 0, "width"], "wide"), r"at `\$.images\[0\].width`"),
        (at(["annotations", 1, "bbox"], "0 0 1 1"), r"at `\$.annotations\[1\].bbox`"),
        (at(["annotations", 1, "bbox", 0], float("nan")), "is not valid JSON"),
        (at(["annotations", 1, "image_id"], None), r"at `\$.annotations\[1\].image_id`"),
        (at(["categories", 0, "name"], 5), r"at `\$.categories\[0\].name`"),
    ],
)
def test_what_cannot_be_used_names_file_and_place(tmp_path, data, words):
    with pytest.raises(InputError, match=words) as caught:
        read(tmp_path, data)
    assert str(tmp_path / "export.json") in str(caught.value)


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(InputError, match=r"annotation file .*none.json does not exist. Check the path"):
        cct.read(tmp_path / "none.json")
    with pytest.raises(InputError, match="cannot be read"):
        cct.read(tmp_path)


@pytest.mark.parametrize(
    ("name", "images", "objects"),
    [
        ("semireal/export.json", 1000, 1000),
        ("photos5/photos5_cct.json", 480, 587),
        ("ena24_small/coco_annotations.json", 21, 21),
    ],
)
def test_real_files(name, images, objects):
    path = DATA / name
    if not path.exists():
        pytest.skip(f"real annotations are absent: {path}")
    raw = json.loads(path.read_text())
    found = cct.read(path)
    assert (found.images.height, found.objects.height) == (images, objects)
    assert found.images["file_name"].to_list() == [image["file_name"] for image in raw["images"]]
    names = {category["id"]: category["name"] for category in raw["categories"]}
    assert found.objects["source_label"].to_list() == [names[item["category_id"]] for item in raw["annotations"]]
    assert [list(row) for row in found.objects.select("^box_.$").rows()] == [
        item["bbox"] for item in raw["annotations"]
    ]


def test_a_large_export_takes_seconds(tmp_path):
    images = [animl_image(f"e{n}:i", f"Site {n % 50}", camera=f"cam{n % 50}") for n in range(20_000)]
    objects = [animl_object(f"o{n}", f"e{n}:i", "fox") for n in range(20_000)]
    path = write(tmp_path / "x.json", images, objects)
    begin = time.monotonic()
    assert ingest([AnnotationFile("islands", path)], IngestConfig(), log=Log()).boxes.height == 20_000
    assert time.monotonic() - begin < 15


def cut_after(data, *words, extra=0):
    text = json.dumps(data, indent=4)
    place = 0
    for word in words:
        place = text.index(word, place)
    return text[: place + len(words[-1]) + extra].encode()


def test_a_file_without_its_end_gives_every_whole_record(tmp_path):
    """LILA's order: what comes after the cut is lost, what is whole before it is kept, and it is said."""
    for end in ('"x",', '"x",\n            "image_id": 12,\n            "category_id": 7,\n            "bb', '"x'):
        found = read(tmp_path, cut_after(lila(), '"annotations"', end))
        assert found.images.height == 2
        assert found.objects.select("source_id", "source_label").rows() == [("1", "deer")]
        assert found.notes == (
            "the file ends too early, in `annotations`; 2 whole images and 1 whole annotations were recovered, what "
            "came after is lost. Export it again.",
        )


def test_a_file_cut_among_its_images_is_told_too(tmp_path):
    found = read(tmp_path, cut_after(lila(), '"images"', '"id": 12'))
    assert found.images["source_id"].to_list() == ["a"]
    assert found.objects.height == 0
    assert "1 whole images and 0 whole annotations" in found.notes[0]


def animl_stream(n_images=3):
    """What Animl leaves of a large export whose last image has no usable object: no end, so no categories."""
    images = [animl_image(f"e{n}") for n in range(n_images)]
    objects = [animl_object(f"o{n}", f"e{n}", "fox") for n in range(n_images - 1)]
    text = json.dumps(content(images, objects), indent=4)
    return text[: text.index("\n    ],", text.index('"annotations"'))]


def test_animls_stream_without_its_end_has_no_names(tmp_path):
    for end in ("", ",\n", "\n    ]", '\n    ],\n    "categories": [{"id": 0, "name": "empty"}'):
        with pytest.raises(InputError, match=r"ends too early, in .*3 whole images and 2 whole annotations") as caught:
            read(tmp_path, (animl_stream() + end).encode())
        assert "Export it again in parts" in str(caught.value)


def test_animls_stream_whose_names_are_all_there_is_recovered(tmp_path):
    end = '\n    ],\n    "categories": [{"id": 0, "name": "empty"}, {"id": 1, "name": "fox"}, {"id": 2, "na'
    found = read(tmp_path, (animl_stream() + end).encode())
    assert found.objects["source_label"].to_list() == ["fox", "fox"]
    assert "in `categories`" in found.notes[0]


def test_a_recovered_file_is_told_of_when_ingested(tmp_path):
    path = tmp_path / "cut.json"
    path.write_bytes(cut_after(lila(), '"annotations"', '"x",'))
    log = Log()
    ingest([AnnotationFile("is", path)], IngestConfig(), log=log)
    assert log.warnings[0].startswith("cut.json: the file ends too early, in `annotations`; 2 whole images and 1 whole")


@given(st.lists(st.sampled_from(["a", "é", ".", "..", "/", "//", "./", " ", "a.b"]), max_size=6).map("".join))
def test_one_file_has_one_spelling(name):
    spelled = cct._one_spelling(pl.Series("file_name", [name]))[0]
    assert spelled == (str(PurePosixPath(name)) if name else "")
