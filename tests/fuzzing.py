"""What the parsers are fed by hypothesis (tests/formats/test_fuzz.py) and by the fuzzer (scripts/fuzz.py).

A new parser is one line in PARSERS: the suffix of its files and a function that gives valid ones.
"""

import copy
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
from hypothesis import strategies as st

from exports import animl_image, animl_object, content, lila
from trapline.core.config import IngestConfig
from trapline.core.errors import InputError
from trapline.core.log import Log
from trapline.core.schemas import TABLES
from trapline.stages.ingest import AnnotationFile, ingest


def cct_seeds() -> list[str]:
    """CCT in its three layouts, as text."""
    objects = [
        animl_object("o1", "e1:i", "fox", validated=True, confidence=None, validated_by="u"),
        animl_object("o2", "e1:i", "skunk", [0, 0, 640, 480], validated=False, confidence=0.7),
        animl_object("o3", "e2:i", "empty", [None] * 4),
    ]
    animl = content([animl_image("e1:i"), animl_image("e2:i", "Creek", camera="cam2")], objects)
    old = content([animl_image("e1", since_2023=False)], [animl_object("o1", "e1", "fox")], first_id=3)
    return [json.dumps(animl, indent=4), json.dumps(old), json.dumps(lila())]


def dataset_csv_seeds() -> list[str]:
    """classification_ds.csv, as text."""
    head = "path,dataset,location,dataset_class,confidence,label\n"
    return [head + 'islands/a/1.jpg___crop00.jpg,islands,007,x,0.9,"fox,owl"\nislands/2.jpg,islands,,x,,skunk\n']


def megadetector_seeds() -> list[str]:
    """MegaDetector results, plain, classified and as the old chain converts labels, as text."""
    info = {"format_version": "1.4", "detector": "md_v5a.0.0.pt", "detection_completion_time": "2024-01-13 07:46:00"}
    box = {"category": "1", "conf": 0.9, "bbox": [0.1, 0.2, 0.3, 0.4]}
    named = [box | {"classifications": [["0", 0.8], ["1", 0.1]]}, box | {"category": "2", "conf": 0.1}]
    images = [{"file": "a/b.jpg", "detections": named}, {"file": "c.jpg", "detections": None, "failure": "truncated"}]
    plain = {"info": info, "detection_categories": {"1": "animal", "2": "person"}, "images": images}
    classified = plain | {"classification_categories": {"0": "fox", "1": "owl"}}
    old = {"info": {"format_version": 1.2, "detector": "cct_to_md"}, "detection_categories": {"1": "fox"}}
    old |= {"images": [{"id": "x", "file": "a.jpg", "location": 7, "max_detection_conf": 1.0, "detections": [box]}]}
    return [json.dumps(content) for content in (plain, classified, old)]


def queried_images_seeds() -> list[str]:
    """queried_images.json, as text."""
    box = {"category": "animal", "bbox": [0.1, 0.2, 0.3, 0.4]}
    entry = {"dataset": "islands", "location": 7, "class": "fox", "bbox": [box, box | {"confidence": 0.5}]}
    bare = {"dataset": "islands", "location": "A", "class": "owl", "label": ["owl", "night"]}
    return [json.dumps({"islands/a.jpg": entry | {"label": ["fox"]}, "islands/b.jpg": bare})]


def image_csv_seeds() -> list[str]:
    """A CSV of labels, short and with boxes, as text."""
    boxed = "path,label,location,datetime,box_x,box_y,box_w,box_h,unit\n"
    boxed += "a.jpg,fox,7,2024:01:13 07:46:00,.1,.2,.3,.4,fraction\n"
    return ["path,label\na.jpg,fox\nb/c.jpg,\n", boxed, "FileName,Site,class\na.jpg,007,fox\n"]


PARSERS: dict[str, tuple[str, Callable[[], list[str]]]] = {
    "cct": (".json", cct_seeds),
    "classification_csv": (".csv", dataset_csv_seeds),
    "megadetector": (".json", megadetector_seeds),
    "queried_images": (".json", queried_images_seeds),
    "image_csv": (".csv", image_csv_seeds),
}


def check(path: Path) -> bool:
    """Ingest a file: tables that hold together (True), or an InputError (False); anything else is a bug."""
    try:
        found = ingest([AnnotationFile("islands", path)], IngestConfig(), log=Log())
    except InputError:
        return False
    for name in ("images", "locations", "boxes", "labels"):
        TABLES[name].check(getattr(found, name))
    known = found.images["image_id"].implode()
    assert found.boxes["image_id"].is_in(known).all()
    assert found.labels["image_id"].is_in(known).all()
    assert found.labels["box_id"].drop_nulls().is_in(found.boxes["box_id"].implode()).all()
    assert found.boxes.select(pl.all_horizontal(pl.col("^box_[xywh]$").is_finite())).to_series().all()
    return True


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


def places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """Every place in a JSON value that could be deleted or replaced."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


@st.composite
def json_variants(draw: st.DrawFn, seeds: list[str]) -> str:
    """A valid file of which some fields were deleted, replaced, doubled or moved, and the end perhaps cut off."""
    data = copy.deepcopy(json.loads(draw(st.sampled_from(seeds))))
    for _ in range(draw(st.integers(1, 4))):
        found = list(places(data))
        if not found:
            break
        path = draw(st.sampled_from(found))
        target = _at(data, path[:-1])
        what = draw(st.sampled_from(["replace", "delete", "double", "move"]))
        if what == "delete":
            del target[path[-1]]
        elif what == "double" and isinstance(target, list):
            target.append(copy.deepcopy(target[path[-1]]))
        elif what == "move":
            target[path[-1]] = copy.deepcopy(_at(data, draw(st.sampled_from(found))))
        else:
            target[path[-1]] = copy.deepcopy(draw(ODD))
    text = json.dumps(data, indent=draw(st.sampled_from([None, 4])))
    return text[: draw(st.integers(0, len(text)))] if draw(st.integers(0, 9)) == 0 else text


ODD_VALUES = (
    None,
    True,
    0,
    -1,
    2.5,
    2**63,
    10**40,
    1e308,
    "",
    "..",
    "a/../b",
    "con",
    "\0",
    "é",
    [],
    {},
    [1, 2, 3, 4],
    "empty",
)


def changed(data: Any, chance: random.Random) -> Any:
    """The same JSON value with something deleted, replaced, doubled or moved (the fuzzer's way; not hypothesis')."""
    found = list(places(data))
    if not found:
        return data
    path = chance.choice(found)
    target = _at(data, path[:-1])
    what = chance.randrange(4)
    if what == 0:
        del target[path[-1]]
    elif what == 1 and isinstance(target, list):
        target.append(copy.deepcopy(target[path[-1]]))
    elif what == 2:
        target[path[-1]] = copy.deepcopy(_at(data, chance.choice(found)))
    else:
        target[path[-1]] = chance.choice(ODD_VALUES)
    return data


def _at(data: Any, path: tuple) -> Any:
    for step in path:
        data = data[step]
    return data


@st.composite
def text_variants(draw: st.DrawFn, seeds: list[str]) -> str:
    """A valid file of which some pieces of text were cut out, replaced or doubled."""
    text = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(1, 6))):
        begin = draw(st.integers(0, len(text)))
        end = min(len(text), begin + draw(st.sampled_from([0, 1, 1, 2, 5, 40])))
        new = draw(
            st.one_of(ODD.map(str), st.sampled_from([",", '"', "\n", "\r\n", ";", "", "\t", text[begin:end] * 2]))
        )
        text = text[:begin] + new + text[end:]
    return text


def variants(name: str) -> st.SearchStrategy[str]:
    """Broken and half-broken files of one parser."""
    suffix, seeds = PARSERS[name]
    given = seeds()
    if suffix == ".json":
        return st.one_of(*[json_variants(given)] * 9, text_variants(given))
    return text_variants(given)
