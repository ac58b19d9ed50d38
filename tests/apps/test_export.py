"""trapline export --to fiftyone, read back as FiftyOne's importer reads it: by key, from both files."""

import json
from pathlib import Path

import polars as pl
import pytest
from PIL import Image

from trapline.apps.export import export, opening
from trapline.cli import run_command
from trapline.core.errors import InputError
from trapline.core.schemas import CROPS, EXAMPLES, ISSUES, SPLITS
from trapline.io import tables
from trapline.project import Project

HOSTILE = '<img src=x onerror="alert(1)">'


def rows(schema, *given):
    """Rows of a schema; what is not given is null."""
    return pl.DataFrame([dict.fromkeys(schema.columns) | row for row in given], schema=schema.columns, orient="row")


def example(crop, labels, group):
    known = {"image_id": crop, "dataset": "d", "weight": 1.0, "heldback": False, "location_id": f"at {group}"}
    return {"crop_id": crop, "labels": labels, "group_id": group, **known}


@pytest.fixture
def project(tmp_path):
    root = tmp_path / "p"
    crops = {
        "d/a.JPG___crop00.jpg": "d/a.JPG___crop00.jpg",
        "d/b.b.jpg___crop00.jpg": "d/b.b.jpg___crop00.jpg",
        "d/c": None,
    }
    for path in filter(None, crops.values()):
        (root / "crops" / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(root / "crops" / path)
    (root / "trapline.yaml").write_text("datasets: {d: {annotations: [a.json], images: .}}\n")
    a, b, c = crops
    layout = Project(root).layout
    given = [{"crop_id": crop, "box_id": crop, "image_id": crop, "path": path} for crop, path in crops.items()]
    examples = [example(a, [HOSTILE], "one"), example(b, ["fox", "hare"], "two"), example(c, ["fox"], "two")]
    tables.write(layout.table("crops"), rows(CROPS, *given), CROPS)
    tables.write(layout.table("examples"), rows(EXAMPLES, *examples), EXAMPLES)
    return Project(root)


def read_back(folder):
    """{picture: [(label, attributes)]}, joined by key as FiftyOne's importer joins them."""
    paths = json.loads((folder / "data.json").read_text())
    content = json.loads((folder / "labels.json").read_text())
    assert content.keys() == {"labels"}  # "classes" would make FiftyOne take every label for a number
    assert all("." not in key for key in paths)
    found = {}
    for key, boxes in content["labels"].items():
        assert all(box["bounding_box"] == [0, 0, 1, 1] for box in boxes)
        found[Path(paths[key])] = [(box["label"], box["attributes"]) for box in boxes]
    return found


def test_every_crop_with_a_picture_is_there_with_what_is_known(project, tmp_path):
    layout = project.layout
    splits = rows(SPLITS, {"group_id": "one", "split": "train"}, {"group_id": "two", "split": "test"})
    tables.write(layout.table("splits"), splits, SPLITS)
    b = "d/b.b.jpg___crop00.jpg"
    issues = [("tiny", "12 x 12 px", 0.5), ("near_duplicate", "same as d/c", 0.75)]
    found = [{"crop_id": b, "kind": kind, "evidence": why, "score": score} for kind, why, score in issues]
    tables.write(layout.table("issues"), rows(ISSUES, *found), ISSUES)
    export(project, "fiftyone", tmp_path / "out")
    shown = read_back(tmp_path / "out")
    assert all(path.is_absolute() and path.is_file() for path in shown)
    first, second = (shown[layout.crops / name] for name in ("d/a.JPG___crop00.jpg", b))
    assert first == [(HOSTILE, {"crop_id": "d/a.JPG___crop00.jpg", "location": "at one", "split": "train"})]
    assert [label for label, _ in second] == ["fox", "hare"]
    assert second[0][1] == {
        "crop_id": b,
        "location": "at two",
        "split": "test",
        "issues": "near_duplicate, tiny",
        "evidence": "near_duplicate: same as d/c\ntiny: 12 x 12 px",
        "issue_score": 0.75,
    }
    assert str(project.log.accounts[-1]).startswith("3 examples -> 2 crops; left out 1 whose crop failed")


def test_before_split_and_inspect_there_is_less_to_tell(project, tmp_path, capsys):
    root, out = project.layout.root, tmp_path / "out"
    assert run_command(["export", "--to", "fiftyone", "-o", str(out), "-p", str(root)]) == 0
    assert all(
        attributes.keys() == {"crop_id", "location"} for boxes in read_back(out).values() for _, attributes in boxes
    )
    assert "fo.types.FiftyOneImageDetectionDataset" in capsys.readouterr().out
    compile(opening(out), "said", "exec")


def test_what_is_there_is_kept_unless_it_may_go(project, tmp_path):
    out = tmp_path / "out"
    export(project, "fiftyone", out)
    with pytest.raises(InputError, match="--overwrite"):
        export(project, "fiftyone", out)
    export(project, "fiftyone", out, overwrite=True)
    with pytest.raises(InputError, match="Name a folder"):
        export(project, "fiftyone", out / "data.json", overwrite=True)


def test_a_project_that_is_not_that_far(project, tmp_path, capsys):
    root = project.layout.root
    project.layout.table("examples").unlink()
    assert run_command(["export", "--to", "fiftyone", "-o", str(tmp_path / "out"), "-p", str(root)]) == 2
    assert "trapline run --until split" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_names_without_pictures(project, tmp_path):
    crops = project.table("crops").with_columns(path=pl.lit(None, dtype=pl.String))
    tables.write(project.layout.table("crops"), crops, CROPS)
    with pytest.raises(InputError, match="has no pictures"):
        export(project, "fiftyone", tmp_path / "out")
