"""Real photographs through the whole pipeline, a small share of each set, with a model that trains in seconds."""

import json
from pathlib import Path

import pytest

import trapline
from projects import QUICK
from trapline.io import project_file

DATA = Path(__file__).parents[1] / ".." / "shared" / "data"
EACH = 12


@pytest.mark.parametrize(
    ("folder", "export", "n_places"), [("semireal", "export.json", 9), ("photos5", "photos5_cct.json", 9)]
)
def test_init_and_run_on_real_images(tmp_path, folder, export, n_places):
    source = DATA / folder
    if not source.exists():
        pytest.skip(f"the development data are absent: no {folder} beside the checkout")
    content = json.loads((source / export).read_text())
    places = sorted({image["location"] for image in content["images"]})[:n_places]
    images = [image for place in places for image in _at(content, place)[:EACH]]
    names = {image["id"] for image in images}
    content |= {"images": images, "annotations": [row for row in content["annotations"] if row["image_id"] in names]}
    (tmp_path / "small.json").write_text(json.dumps(content))
    project = trapline.init(tmp_path / "p", [tmp_path / "small.json"], source / "images", "real")
    project_file.set_values(project.layout.config, "train", QUICK.model_dump(mode="json", exclude_unset=True))
    project = trapline.Project(tmp_path / "p")
    project.run()
    crops = project.table("crops")
    assert crops.height == len(content["annotations"])
    assert crops["failure"].null_count() == crops.height
    assert all((tmp_path / "p" / "crops" / path).exists() for path in crops["path"])
    found = project.table("metrics").filter(name="macro_recall", label="", split="test", group_kind="")
    assert 0 <= found["value"].item() <= 1
    report = (tmp_path / "p" / "runs" / "001-test_efficientnet" / "report.html").read_text()
    assert "macro recall" in report.casefold()


def _at(content, place):
    return [image for image in content["images"] if image["location"] == place]
