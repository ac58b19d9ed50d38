"""`trapline convert`: every format into every other, judged by others' validators and by coming back unchanged."""

import json
import subprocess
import sys
from itertools import product
from pathlib import Path

import frictionless
import jsonschema
import polars as pl
import pytest
from PIL import Image
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT4

from exports import animl_image, animl_object, content
from trapline.apps.convert import WRITERS, convert
from trapline.cli import run_command
from trapline.core.config import IngestConfig
from trapline.core.errors import InputError
from trapline.core.log import Log
from trapline.formats import camtrap_dp, recognise
from trapline.stages.ingest import AnnotationFile, ingest

DATA = Path(__file__).parents[2] / ".." / "shared" / "data"
SCHEMAS = Path(camtrap_dp.__file__).parent / "schemas"
IMAGES = [
    animl_image("e1:a", "Ridge"),
    animl_image("e2:b", "Creek", camera="cam2", width=641, height=481),
    animl_image("e3:c", "Ridge"),
    animl_image("e4:d", "Ridge", camera="cam2"),  # a deployment's name that two cameras share
    animl_image("e5:e", "Mesa", camera="cam5", datetime="2024-01-13T07:46:01.000-07:00"),
]
OBJECTS = [
    animl_object("o1", "e1:a", "fox", [10, 20, 100, 51], confidence=None, validated=True, validated_by="Ada"),
    animl_object("o2", "e1:a", "skunk", [3, 7, 11, 13], confidence=0.5, validated=False, validated_by="Not Reviewed"),
    animl_object("o3", "e2:b", "person", [0, 0, 641, 481], confidence=None, validated=True, validated_by="Bo"),
    animl_object("o4", "e3:c", "empty", [0, 0, 640, 480], confidence=None, validated=True, validated_by="Bo"),
    animl_object("o5", "e4:d", "fox", [1, 1, 7, 7], confidence=None, validated=True, validated_by="Ada"),
]
PLACES = """dataset,location,latitude,longitude
x,cam1/Ridge,34.1,-119.7
x,cam2/Ridge,34.2,-119.7
x,Creek,34.3,-119.6
x,Mesa,34,-119
"""


@pytest.fixture
def export(tmp_path):
    (tmp_path / "export.json").write_text(json.dumps(content(IMAGES, OBJECTS)))
    (tmp_path / "locations.csv").write_text(PLACES)
    return tmp_path / "export.json"


def tables(*paths):
    """What ingest makes of files: the common ground on which formats are compared."""
    kinds = {path: recognise.recognise(path) for path in paths}
    names = {path: (recognise.datasets(path, kind) or ["images"])[0] for path, kind in kinds.items()}
    return ingest([AnnotationFile(names[path], path) for path in paths], IngestConfig(), log=Log())


def box_rows(found):
    """(image, x, y, w, h in px, label, validated) of every labelled box, and labels of whole images."""
    sizes = found.images.select("image_id", "file_name", "width_px", "height_px")
    boxes = found.boxes.join(sizes, on="image_id").join(found.labels.drop("image_id"), on="box_id")
    rows = []
    for row in boxes.iter_rows(named=True):
        scale = (row["width_px"], row["height_px"]) if row["unit"] == "fraction" else (1, 1)
        sides = [round(row[side] * scale[n % 2], 3) for n, side in enumerate(("box_x", "box_y", "box_w", "box_h"))]
        rows.append((row["file_name"], *sides, row["source_label"]))
    whole = found.labels.filter(pl.col("box_id").is_null()).join(sizes, on="image_id")
    return sorted(rows), sorted(whole.select("file_name", "source_label").rows())


def places(found):
    return sorted(found.images.select("file_name", "deployment_id", "captured_at", "utc_offset").rows())


@pytest.mark.parametrize("through", list(product(["md", "csv", "cct"], repeat=2)), ids="->".join)
def test_round_trips_lose_nothing_that_both_formats_hold(export, tmp_path, through):
    source = export
    for n, to in enumerate(through):
        target = tmp_path / f"{n}.{'csv' if to == 'csv' else 'json'}"
        convert([source], to, target)
        source = target
    before, after = tables(export), tables(source)
    assert box_rows(after) == box_rows(before)
    assert places(after) == places(before)
    assert after.images["width_px"].to_list() == before.images["width_px"].to_list()
    ids = pl.col("box_id").str.replace("^[^/]*/", "")
    assert after.boxes.select(ids).to_series().sort().to_list() == ["o1", "o2", "o3", "o5"]
    if "md" not in through:
        facts = ["source_label", "conf", "validated", "validated_by"]
        assert after.labels.sort(facts).select(facts).equals(before.labels.sort(facts).select(facts))


def test_cct_comes_back_as_it_was(export, tmp_path):
    """Animl's own fields: deployments, serving keys, ids, whole pixels, the full frame of an empty image."""
    convert([export], "cct", tmp_path / "back.json")
    before, after = json.loads(export.read_text()), json.loads((tmp_path / "back.json").read_text())
    names = {row["id"]: row["name"] for row in after["categories"]}
    assert names[0] == "empty"
    kept = ("id", "file_name", "serving_bucket_key", "datetime", "location", "width", "height")
    assert [{key: image[key] for key in kept} for image in after["images"]] == [
        {key: image[key] for key in kept} for image in before["images"]
    ]
    old = {row["id"]: row["name"] for row in before["categories"]}
    facts = [
        (row["image_id"], row["bbox"], old[row["category_id"]], row["validated"], row["confidence"])
        for row in before["annotations"]
    ]
    assert sorted(facts, key=str) == sorted(
        [
            (row["image_id"], row["bbox"], names[row["category_id"]], row["validated"], row["confidence"])
            for row in after["annotations"]
        ],
        key=str,
    )


def test_what_is_lost_is_printed(export, tmp_path, capsys):
    code = run_command(["convert", str(export), "--to", "md", "-o", str(tmp_path / "md.json")])
    text = " ".join(capsys.readouterr().out.split())
    assert code == 0
    assert "export.json: COCO Camera Traps JSON" in text
    assert "wrote" in text
    assert "MegaDetector results 1.6 does not hold 5 labels' validated and validated_by" in text
    assert "1 images that nobody labelled: they look empty here" in text


def validate_results(path):
    """(errors, warnings) of MegaDetector's validator, in a process of its own: importing it makes Pillow read
    truncated images in silence."""
    code = (
        "import json, sys; from megadetector.postprocessing import validate_batch_results as module;"
        "found = module.validate_batch_results(sys.argv[1])['validation_results'];"
        "print(json.dumps([found['errors'], found['warnings']]))"
    )
    said = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    return tuple(json.loads(said.stdout.splitlines()[-1]))


def test_megadetectors_own_validator_passes_what_is_written(export, tmp_path):
    convert([export], "md", tmp_path / "md.json")
    assert validate_results(tmp_path / "md.json") == ([], [])
    results = json.loads((tmp_path / "md.json").read_text())
    assert results["info"] == {"format_version": "1.6", "detector": "human"}
    first = results["images"][0]
    assert first["file"] == "islands/cam1/ridge/e1-a.jpg"
    assert first["detections"][0]["bbox"] == pytest.approx([10 / 640, 20 / 480, 100 / 640, 51 / 480])
    person = results["images"][1]["detections"][0]
    assert results["detection_categories"][person["category"]] == "person"
    assert results["images"][2]["detections"] == []


def test_queried_images_as_the_old_chain_had_them(export, tmp_path):
    lost = convert([export], "queried-images", tmp_path / "q.json")
    written = json.loads((tmp_path / "q.json").read_text())
    assert written == {
        "images/islands/cam2/creek/e2-b.jpg": {
            "dataset": "images",
            "location": "Creek",
            "class": "person",
            "label": ["person"],
            "bbox": [{"category": "animal", "bbox": [0, 0, 1, 1]}],
        },
        "images/islands/cam1/ridge/e3-c.jpg": {
            "dataset": "images",
            "location": "Ridge",
            "class": "empty",
            "label": ["empty"],
        },
        "images/islands/cam2/ridge/e4-d.jpg": {
            "dataset": "images",
            "location": "Ridge",
            "class": "fox",
            "label": ["fox"],
            "bbox": [{"category": "animal", "bbox": pytest.approx([1 / 640, 1 / 480, 7 / 640, 7 / 480])}],
        },
    }
    assert any(sentence.startswith("1 images whose boxes bear different labels") for sentence in lost)
    back = tables(tmp_path / "q.json").labels.select("image_id", pl.col("box_id").is_null(), "source_label").rows()
    assert sorted(back) == [
        ("images/islands/cam1/ridge/e3-c.jpg", True, "empty"),
        ("images/islands/cam2/creek/e2-b.jpg", False, "person"),
        ("images/islands/cam2/ridge/e4-d.jpg", False, "fox"),
    ]


def validate_package(folder):
    """The problems that the standard's profile and schemas find, without its references to the network."""
    descriptor = json.loads((folder / "datapackage.json").read_text())
    profile = json.loads((SCHEMAS / "camtrap-dp-profile.json").read_text())
    shape = Resource({"type": "object", "required": ["type", "coordinates"]}, specification=DRAFT4)
    registry = Registry().with_resources([("http://json.schemastore.org/geojson.json", shape)])
    own = {"$schema": profile["$schema"], "$defs": profile["$defs"], **profile["allOf"][1]}
    problems = [error.message for error in jsonschema.Draft4Validator(own, registry=registry).iter_errors(descriptor)]
    local = {"name": descriptor["name"], "resources": []}
    for resource in descriptor["resources"]:
        schema = json.loads((SCHEMAS / f"{resource['name']}-table-schema.json").read_text())
        plain = {key: value for key, value in resource.items() if key not in ("schema", "profile")}
        local["resources"].append({**plain, "schema": schema})
    (folder / "local.json").write_text(json.dumps(local))
    report = frictionless.validate(str(folder / "local.json"))
    (folder / "local.json").unlink()
    return problems + [str(row) for row in report.flatten(["rowNumber", "fieldName", "note"])]


def test_frictionless_passes_a_written_package(export, tmp_path):
    (tmp_path / "names.csv").write_text("label,scientific_name\nfox,Urocyon littoralis\n")
    convert(
        [export],
        "camtrap-dp",
        tmp_path / "dp",
        locations=tmp_path / "locations.csv",
        scientific_names=tmp_path / "names.csv",
    )
    assert validate_package(tmp_path / "dp") == []
    seen = pl.read_csv(tmp_path / "dp" / "observations.csv", infer_schema=False)
    columns = ["observationID", "observationType", "scientificName", "classificationMethod", "classifiedBy"]
    assert seen.select(columns).rows() == [
        ("e3:c:image", "blank", None, "human", "Bo"),
        ("o1", "animal", "Urocyon littoralis", "human", "Ada"),
        ("o2", "animal", "skunk", "machine", "Not Reviewed"),
        ("o3", "human", None, "human", "Bo"),
        ("o5", "animal", "Urocyon littoralis", "human", "Ada"),
    ]
    back = tables(tmp_path / "dp")
    assert back.labels.height == 5
    assert back.locations.select("location_id", "latitude").rows() == [
        ("Creek", 34.3),
        ("Mesa", 34.0),
        ("cam1/Ridge", 34.1),
        ("cam2/Ridge", 34.2),
    ]


@pytest.mark.parametrize("name", ["camtrap_dp_example/example", "camtrap_dp_mica", "camtrap_dp_small"])
def test_real_packages_come_out_valid(tmp_path, name):
    if not (DATA / name).exists():
        pytest.skip(f"the development data are absent: no {name} beside the checkout")
    convert([DATA / name], "camtrap-dp", tmp_path / "dp")
    assert validate_package(tmp_path / "dp") == []
    before, after = tables(DATA / name), tables(tmp_path / "dp")
    assert after.labels["source_label"].value_counts(sort=True).sort("source_label").rows() == (
        before.labels["source_label"].value_counts(sort=True).sort("source_label").rows()
    )


def test_labels_and_detections_become_a_package(tmp_path):
    """Labels from one file, boxes from MegaDetector, coordinates from a third."""
    (tmp_path / "labels.csv").write_text(
        "path,label,location,datetime\n"
        "d1/a.jpg,fox,Ridge,2024-01-13 07:46:00\n"
        "d1/b.jpg,empty,Ridge,2024-01-13 07:47:00\n"
    )
    box = {"category": "1", "conf": 0.9, "bbox": [0.1, 0.2, 0.3, 0.4]}
    results = {
        "info": {"format_version": "1.6", "detector": "md_v5a.0.0.pt"},
        "detection_categories": {"1": "animal"},
        "images": [
            {"file": "a.jpg", "detections": [box, {**box, "conf": 0.1, "bbox": [0, 0, 1, 1]}]},
            {"file": "b.jpg", "detections": [box]},
        ],
    }
    (tmp_path / "md.json").write_text(json.dumps(results))
    (tmp_path / "locations.csv").write_text("dataset,location,latitude,longitude\nx,Ridge,1,2\n")
    log = Log()
    convert(
        [tmp_path / "labels.csv", tmp_path / "md.json"],
        "camtrap-dp",
        tmp_path / "dp",
        locations=tmp_path / "locations.csv",
        utc_offset="-08:00",
        log=log,
    )
    assert validate_package(tmp_path / "dp") == []
    seen = pl.read_csv(tmp_path / "dp" / "observations.csv", infer_schema=False)
    assert seen.select("observationType", "scientificName", "bboxWidth").rows() == [
        ("animal", "fox", "0.3"),
        ("blank", None, None),
    ]
    assert "md.json: d1/ was put before its paths, so that they are those of the annotations." in log.notes
    assert "1 below the detection threshold, 1 of images that people call empty" in " ".join(map(str, log.accounts))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "4 of 4 locations have no coordinates (first: Creek)"),
        (
            {"locations": True, "bare": "2024-01-13 07:46:00"},
            "5 of 5 images do not state the zone of their time stamps",
        ),
        (
            {"locations": True, "bare": "soon"},
            "no image can stand in a Camtrap DP package:\n  - 5 images without a time",
        ),
    ],
)
def test_what_a_package_requires_is_asked_for(export, tmp_path, options, says):
    if options.get("bare"):
        images = [{**image, "datetime": options["bare"]} for image in IMAGES]
        export.write_text(json.dumps(content(images, OBJECTS)))
    with pytest.raises(InputError) as error:
        convert(
            [export],
            "camtrap-dp",
            tmp_path / "dp",
            locations=tmp_path / "locations.csv" if options.get("locations") else None,
        )
    assert says in str(error.value)
    assert not (tmp_path / "dp").exists()


def test_corrections_go_into_the_export(export, tmp_path):
    (tmp_path / "corrections.csv").write_text(
        "image_id,box_id,action,from,to,who,when\n"
        "islands/e1:a,islands/o1,relabel,fox,coyote,Cy,2024-06-01T10:00:00Z\n"
        "islands/e2:b,islands/o3,exclude,person,,Cy,2024-06-01T10:00:00Z\n"
    )
    convert([export, tmp_path / "corrections.csv"], "cct", tmp_path / "corrected.json")
    written = json.loads((tmp_path / "corrected.json").read_text())
    names = {row["id"]: row["name"] for row in written["categories"]}
    assert {row["id"]: (names[row["category_id"]], row["validated_by"]) for row in written["annotations"]} == {
        "o1": ("coyote", "Cy"),
        "o2": ("skunk", "Not Reviewed"),
        "o5": ("fox", "Ada"),
        "e3:c:image:0": ("empty", "Bo"),
    }
    with pytest.raises(InputError, match="give the export that they belong to"):
        convert([tmp_path / "corrections.csv"], "cct", tmp_path / "x.json")


def test_decisions_on_a_review_list_go_into_the_results_it_was_made_from(tmp_path):
    """A list names boxes <file>#<number of the detection>; here of a results file that a classifier completed."""
    boxes = [[0.1, 0.2, 0.3, 0.4], [0.5, 0.5, 0.25, 0.25]]
    found = [{"category": "1", "conf": 0.9, "bbox": box, "classifications": [["0", 0.8], ["1", 0.2]]} for box in boxes]
    results = {
        "info": {"format_version": "1.4", "detector": "md_v5a.0.0.pt"},
        "detection_categories": {"1": "animal"},
        "classification_categories": {"0": "fox", "1": "skunk"},
        "images": [{"file": f"cam 1/{name}.jpg", "detections": found} for name in "ab"],
    }
    (tmp_path / "results.json").write_text(json.dumps(results))
    (tmp_path / "corrections.csv").write_text(
        "image_id,box_id,action,from,to,who,when\n"
        "cam 1/a.jpg,cam 1/a.jpg#1,relabel,fox,lynx,Cy,2024-06-01T10:00:00Z\n"
        "cam 1/b.jpg,cam 1/b.jpg#0,exclude,fox,,Cy,2024-06-01T10:00:00Z\n"
        "cam 1/b.jpg,cam 1/b.jpg#1,accept,fox,,Cy,2024-06-01T10:00:00Z\n"
        "cam 1/b.jpg,cam 1/b.jpg#7,accept,fox,,Cy,2024-06-01T10:00:00Z\n"
    )
    log = Log()
    convert([tmp_path / "results.json", tmp_path / "corrections.csv"], "csv", tmp_path / "out.csv", log=log)
    written = pl.read_csv(tmp_path / "out.csv").select("path", "box_x", "label", "validated_by")
    assert sorted(written.rows()) == [
        ("cam 1/a.jpg", 0.1, "fox", None),
        ("cam 1/a.jpg", 0.5, "lynx", "Cy"),
        ("cam 1/b.jpg", 0.5, "fox", "Cy"),
    ]
    assert "4 corrections -> 3 applied; left out 1 of boxes that do not exist" in map(str, log.accounts)


def test_images_tell_the_sizes_that_annotations_do_not(tmp_path):
    """An image that EXIF turns: its raw size is 40 x 20, a person sees 20 x 40, and its box is of what is seen."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20)).save(tmp_path / "a.jpg", exif=exif)
    (tmp_path / "md.json").write_text(
        json.dumps(
            {
                "info": {"format_version": "1.6", "detector": "human"},
                "detection_categories": {"1": "animal"},
                "classification_categories": {"0": "fox"},
                "images": [
                    {
                        "file": "a.jpg",
                        "detections": [
                            {
                                "category": "1",
                                "conf": 1.0,
                                "bbox": [0.5, 0.25, 0.25, 0.5],
                                "classifications": [["0", 1.0]],
                            }
                        ],
                    }
                ],
            }
        )
    )
    lost = convert([tmp_path / "md.json"], "cct", tmp_path / "blind.json")
    assert lost[0].startswith("1 boxes of images whose size is not known")
    convert([tmp_path / "md.json"], "cct", tmp_path / "seen.json", images=tmp_path)
    written = json.loads((tmp_path / "seen.json").read_text())
    assert (written["images"][0]["width"], written["images"][0]["height"]) == (20, 40)
    assert written["annotations"][0]["bbox"] == [10, 10, 5, 20]


def test_nothing_is_overwritten_by_accident(export, tmp_path):
    (tmp_path / "out.json").write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        convert([export], "md", tmp_path / "out.json")
    assert (tmp_path / "out.json").read_text() == "mine"
    with pytest.raises(InputError, match="one of the files to convert"):
        convert([export], "md", export, overwrite=True)
    convert([export], "md", tmp_path / "out.json", overwrite=True)
    with pytest.raises(InputError, match="nothing to convert"):
        convert([], "md", tmp_path / "x")
    with pytest.raises(InputError, match=r"nowhere\.csv does not exist"):
        convert([export], "md", tmp_path / "x", locations="nowhere.csv")
    with pytest.raises(InputError, match="no format 'yolo'"):
        convert([export], "yolo", tmp_path / "x")
    assert set(WRITERS) <= set(recognise.FORMATS)
