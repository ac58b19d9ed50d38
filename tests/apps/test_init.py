"""`trapline init` from everything that the field writes: what each becomes, and what is said of it."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from trapline.apps.init import init
from trapline.core.errors import InputError
from trapline.core.log import Log
from trapline.project import Project

DATA = Path(__file__).parents[2] / ".." / "shared" / "data"


def draw(root, *paths):
    for n, path in enumerate(paths):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (60, 40), (10 * n % 255, 80, 40)).save(root / path)
    return root


def said(log):
    return "\n".join([*log.notes, *log.warnings])


def test_folders_name_labels_and_places(tmp_path):
    draw(tmp_path / "photos", "A/fox/1.jpg", "B/fox/1.jpg", "B/owl/1.jpg")
    log = Log()
    project = init(tmp_path / "p", images=tmp_path / "photos", log=log)
    assert (tmp_path / "p/annotations/p.csv").read_text() == (
        "path,label,location\nA/fox/1.jpg,fox,A\nB/fox/1.jpg,fox,B\nB/owl/1.jpg,owl,B\n"
    )
    assert "folders were read as location/label: 2 locations, 2 labels" in said(log)
    assert "none of the 3 labels has a box, so there will be no crop. Run a detector" in said(log)
    project.run(until="ingest")
    assert project.table("images").select("location_id").to_series().to_list() == ["A", "B", "B"]
    other = init(tmp_path / "q", images=tmp_path / "photos", folder_names="label/*")
    assert sorted(other.layout.root.joinpath("annotations/q.csv").read_text().split()[1:]) == [
        "A/fox/1.jpg,A",
        "B/fox/1.jpg,B",
        "B/owl/1.jpg,B",
    ]


def test_ready_made_crops_are_taken_whole(tmp_path):
    draw(tmp_path / "crops", "fox/1.jpg", "owl/1.jpg")
    project = init(tmp_path / "p", images=tmp_path / "crops", ready_made=True)
    project.run(until="dataset")
    crops = project.table("crops")
    assert crops.select("crop_id", "width_px", "height_px").rows() == [("p/fox/1.jpg", 60, 40), ("p/owl/1.jpg", 60, 40)]
    assert [labels[0] for labels in project.table("examples")["labels"]] == ["fox", "owl"]
    assert (tmp_path / "p/crops/p/fox/1.jpg").read_bytes() == (tmp_path / "crops/fox/1.jpg").read_bytes()


def test_labels_and_detections_of_two_files(tmp_path):
    draw(tmp_path / "photos", "a.jpg", "b.jpg")
    (tmp_path / "labels.csv").write_text("path,label,location\na.jpg,fox,Ridge\nb.jpg,owl,Creek\n")
    boxes = [{"category": "1", "conf": conf, "bbox": [0, 0, 0.5, 0.5 + conf / 2]} for conf in (0.9, 0.3)]
    results = {
        "info": {"detector": "md_v5a.0.0.pt"},
        "detection_categories": {"1": "animal"},
        "images": [{"file": name, "detections": boxes} for name in ("a.jpg", "b.jpg")],
    }
    (tmp_path / "md.json").write_text(json.dumps(results))
    project = init(tmp_path / "p", [tmp_path / "labels.csv", tmp_path / "md.json"], tmp_path / "photos")
    project.run(until="dataset")
    assert project.table("examples").height == 4
    assert project.table("crops")["crop_id"].to_list() == [
        f"p/{name}.jpg___crop0{n}_mdv5a.0.jpg" for name in ("a", "b") for n in (0, 1)
    ]
    project.make("ingest", {"animals": "best"})
    project.run(until="dataset")
    assert project.table("examples").height == 2
    project.make("ingest", {"animals": "all", "detection_threshold": 0.95})
    assert project.table("boxes").height == 0


def test_an_old_list_of_several_datasets(tmp_path):
    draw(tmp_path / "photos", "north/a.jpg", "south/a.jpg")
    content = {
        f"{name}/a.jpg": {
            "dataset": name,
            "location": 7,
            "class": "fox",
            "bbox": [{"category": "animal", "bbox": [0, 0, 0.5, 0.5]}],
            "label": ["fox"],
        }
        for name in ("north", "south")
    }
    (tmp_path / "queried_images.json").write_text(json.dumps(content))
    project = init(tmp_path / "p", [tmp_path / "queried_images.json"], tmp_path / "photos")
    project.run(until="crop")
    assert project.table("crops")["failure"].null_count() == 2
    assert project.table("images")["location_id"].to_list() == ["7", "7"]
    (tmp_path / "labels.csv").write_text("path,label\na.jpg,fox\n")
    with pytest.raises(InputError, match="names its datasets itself: make a project of it alone"):
        init(tmp_path / "q", [tmp_path / "queried_images.json", tmp_path / "labels.csv"])


def test_a_package_is_copied_with_its_tables(tmp_path):
    if not (DATA / "camtrap_dp_small").exists():
        pytest.skip("the development data are absent: no camtrap_dp_small beside the checkout")
    names = ["small_cat.jpg", "wild_dog_jackal.jpg", "chimpanzee_bonobo.jpeg", "dep2/equid.webp"]
    package = shutil.copytree(DATA / "camtrap_dp_small", tmp_path / "package")
    project = init(tmp_path / "p", [package], draw(tmp_path / "photos", *names))
    assert sorted(path.name for path in (tmp_path / "p/annotations/package").iterdir()) == [
        "datapackage.json",
        "deployments.csv",
        "media.csv",
        "observations.csv",
    ]
    shutil.rmtree(package)
    project.run(until="crop")
    assert project.table("crops")["failure"].null_count() == 4
    assert project.table("locations").select("location_id", "latitude").rows() == [("loc1", 50.0), ("loc2", 51.0)]
    table = tmp_path / "p/annotations/package/observations.csv"
    table.write_text(table.read_text().replace("Felis catus", "Felis silvestris"))
    assert Project(tmp_path / "p").status()[0].state == "stale"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({}, "give one"),
        ({"images": "https://x.example/photos"}, "give --annotations"),
        ({"images": "absent"}, "absent is not a folder"),
        ({"annotations": ["corrections.csv"], "images": "."}, "holds corrections, not annotations"),
    ],
)
def test_what_makes_no_project(tmp_path, monkeypatch, arguments, says):
    monkeypatch.chdir(tmp_path)
    Path("corrections.csv").write_text("image_id,box_id,action,from,to,who,when\n")
    with pytest.raises(InputError, match=says):
        init(tmp_path / "p", **arguments)
    assert not (tmp_path / "p").exists()


def test_media_at_urls_of_their_own_need_no_folder(tmp_path):
    if not (DATA / "camtrap_dp_mica").exists():
        pytest.skip("the development data are absent: no camtrap_dp_mica beside the checkout")
    log = Log()
    project = init(tmp_path / "p", [DATA / "camtrap_dp_mica"], log=log)
    assert project.config.datasets["p"].images == "https://multimedia.agouti.eu"
    assert "the images are in https://multimedia.agouti.eu; `trapline fetch` brings them to images/p" in said(log)
