import copy
import json
import time
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exports import animl_image, animl_object, content, write
from trapline.core.config import IngestConfig
from trapline.core.errors import InputError
from trapline.core.log import Log
from trapline.core.schemas import TABLES
from trapline.formats import cct
from trapline.formats.annotations import IMAGE_COLUMNS, OBJECT_COLUMNS
from trapline.stages.ingest import AnnotationFile, ingest

TIME = "2024-01-13T07:46:00.000-07:00"
DATA = Path(__file__).parents[2] / "../shared/data"


def lila():
    return {
        "info": {"version": "1.0", "date_created": "2019"},
        "categories": [{"id": 0, "name": "empty"}, {"id": 7, "name": "deer", "count": 3}],
        "images": [
            {"id": "a", "file_name": "S1/a.JPG", "width": 640, "height": 480, "datetime": "2014-06-05 06:07:08"}
            | {"location": 26, "seq_id": "s1", "seq_num_frames": 2, "frame_num": 1, "rights_holder": "x"},
            {"id": 12, "file_name": "S1\\b.JPG", "location": "26", "seq_id": 5, "corrupt": False},
        ],
        "annotations": [
            {"id": 1, "image_id": "a", "category_id": 7, "count": 2, "sequence_level_annotation": True},
            {"id": "x", "image_id": 12, "category_id": 7, "bbox": [1.5, 2, 30.25, 40]},
            {"image_id": 12, "category_id": 0},
        ],
    }


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
        (json.dumps(lila()).encode()[:-9], "is not valid JSON: .*truncated. Export it again"),
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


def valid():
    objects = [
        animl_object("o1", "e1:i", "fox", validated=True, confidence=None, validated_by="u"),
        animl_object("o2", "e1:i", "skunk", [0, 0, 640, 480], validated=False, confidence=0.7),
        animl_object("o3", "e2:i", "empty", [None] * 4),
    ]
    animl = content([animl_image("e1:i"), animl_image("e2:i", "Creek", camera="cam2")], objects)
    old = content([animl_image("e1", since_2023=False)], [animl_object("o1", "e1", "fox")], first_id=3)
    return [animl, old, lila()]


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-5, 5),
    st.sampled_from([2**63, 2**64, 10**40, 1e308, -1e308, 0.0, -0.0, 5e-324]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.sampled_from(["", " ", "..", "../x", "/x", "a/b", "con", "x" * 300, "\0", "é", "2024-01-01", "99:99", "empty"]),
    st.sampled_from([[], {}, [1], [[1, 2, 3, 4]], {"id": 1}, [0, 0, 0, 0], [-1, -1, 5, 5]]),
)


def places(value, path=()):
    """Every place in a JSON value that could be deleted or replaced."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


@st.composite
def variants(draw):
    """A valid export of which some fields were deleted, replaced, doubled or moved."""
    data = copy.deepcopy(draw(st.sampled_from(valid())))
    for _ in range(draw(st.integers(1, 4))):
        found = list(places(data))
        if not found:
            break
        path = draw(st.sampled_from(found))
        target = data
        for step in path[:-1]:
            target = target[step]
        what = draw(st.sampled_from(["replace", "delete", "double", "move"]))
        if what == "delete":
            del target[path[-1]]
        elif what == "double" and isinstance(target, list):
            target.append(copy.deepcopy(target[path[-1]]))
        elif what == "move":
            other = data
            for step in (moved := draw(st.sampled_from(found)))[:-1]:
                other = other[step] if not isinstance(other, (str, int, float, type(None))) else {}
            try:
                target[path[-1]] = copy.deepcopy(other[moved[-1]])
            except (KeyError, IndexError, TypeError):
                target[path[-1]] = None
        else:
            target[path[-1]] = copy.deepcopy(draw(ODD))
    text = json.dumps(data)
    if draw(st.integers(0, 9)) == 0:
        text = text[: draw(st.integers(0, len(text)))]
    return text


def never_anything_but_tables_or_input_error(folder, text):
    path = folder / "variant.json"
    path.write_text(text)
    log = Log()
    try:
        found = ingest([AnnotationFile("islands", path)], IngestConfig(), log=log)
    except InputError:
        return
    for name in ("images", "locations", "boxes", "labels"):
        TABLES[name].check(getattr(found, name))
    known = found.images["image_id"].implode()
    assert found.boxes["image_id"].is_in(known).all()
    assert found.labels["image_id"].is_in(known).all()
    assert found.labels["box_id"].drop_nulls().is_in(found.boxes["box_id"].implode()).all()
    assert (
        found.boxes.select(pl.all_horizontal(pl.col("box_x", "box_y", "box_w", "box_h").is_finite())).to_series().all()
    )


QUIETLY = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]


@settings(max_examples=200, deadline=None, suppress_health_check=QUIETLY)
@given(text=variants())
def test_variants_of_valid_exports(tmp_path, text):
    never_anything_but_tables_or_input_error(tmp_path, text)


@pytest.mark.slow
@settings(max_examples=10_000, deadline=None, suppress_health_check=QUIETLY)
@given(text=variants())
def test_ten_thousand_variants_of_valid_exports(tmp_path, text):
    never_anything_but_tables_or_input_error(tmp_path, text)


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
