import json
from importlib import import_module

import pytest

from exports import animl_image, animl_object, content
from trapline.core.errors import InputError
from trapline.formats import recognise


def test_every_reader_exists():
    for form in recognise.FORMATS.values():
        module, function = form.reader.split(":")
        assert callable(getattr(import_module(module), function))


CCT = content([animl_image("e1:a")], [animl_object("o1", "e1:a", "fox")])
MD = {"info": {}, "detection_categories": {"1": "animal"}, "images": [{"file": "a.jpg", "detections": []}]}


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("x.txt", json.dumps(CCT), "cct"),
        (
            "x.json",
            "\ufeff" + json.dumps({key: CCT[key] for key in ("info", "categories", "images", "annotations")}),
            "cct",
        ),
        ("x.json", json.dumps({"images": MD["images"], **MD}), "md"),
        (
            "x.json",
            '{"is/a.jpg": {"dataset": "is", "location": "x", "class": "fox", "label": ["fox"]}}',
            "queried-images",
        ),
        ("x.csv", "path,dataset,location,dataset_class,confidence,label\n", "classification-ds"),
        ("x.txt", "file,species\na.jpg,fox\n", "csv"),
        ("x.csv", "image_id,box_id,action,from,to,who,when\n", "corrections"),
    ],
)
def test_files_are_known_by_their_content(tmp_path, name, text, kind):
    (tmp_path / name).write_text(text)
    assert recognise.recognise(tmp_path / name) == kind


def test_a_large_export_is_known_by_its_beginning_and_end(tmp_path):
    """Animl's streams list all images first; only they are near the beginning."""
    images = [animl_image(f"e{n}:a") for n in range(3000)]
    (tmp_path / "x.json").write_text(json.dumps({"images": images, "annotations": [], "categories": []}, indent=4))
    assert recognise.recognise(tmp_path / "x.json") == "cct"


def test_folders(tmp_path):
    assert recognise.recognise(tmp_path) == "folders"
    (tmp_path / "datapackage.json").write_text("{}")
    assert recognise.recognise(tmp_path) == "camtrap-dp"
    assert recognise.recognise(tmp_path / "datapackage.json") == "camtrap-dp"


def test_what_nothing_reads(tmp_path):
    (tmp_path / "x.doc").write_bytes(b"\xd0\xcf\x11\xe0")
    with pytest.raises(InputError, match="none of the formats that trapline reads: COCO Camera Traps"):
        recognise.recognise(tmp_path / "x.doc")
    with pytest.raises(InputError, match="does not exist"):
        recognise.recognise(tmp_path / "absent.json")
    (tmp_path / "corrections.csv").write_text("image_id,box_id,action,from,to,who,when\n")
    with pytest.raises(InputError, match="holds corrections, not annotations"):
        recognise.read(tmp_path / "corrections.csv", "is")
