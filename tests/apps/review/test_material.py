import numpy as np
import polars as pl
import pytest

from reviews import write_list
from trapline.apps.review import material
from trapline.apps.review.app import how_to_reach
from trapline.core import schemas
from trapline.core.config import DatasetSource, ProjectConfig
from trapline.core.errors import InputError
from trapline.io import project_file, tables
from trapline.project import Project


@pytest.fixture
def root(tmp_path):
    """A project of two crops, one of them an example; nothing is predicted."""
    root = tmp_path / "p"
    root.mkdir()
    config = ProjectConfig(datasets={"d": DatasetSource(annotations=("a.json",), images="photos")})
    project_file.write_new(root / "trapline.yaml", config)
    box = {
        "box_x": 0.1,
        "box_y": 0.1,
        "box_w": 0.2,
        "box_h": 0.2,
        "unit": "fraction",
        "frame": "auto",
        "source": "human",
    }
    rows = {
        "IMAGES": [{"image_id": i, "dataset": "d", "file_name": f"{i}.jpg", "location_id": "007"} for i in "ij"],
        "BOXES": [{"box_id": f"b{i}", "image_id": i, "source": "human", **box} for i in "ij"],
        "LABELS": [{"image_id": i, "box_id": f"b{i}", "source_label": "fox", "sequence_level": False} for i in "ij"],
        "FILES": [{"image_id": "i", "path": "photos/i.jpg"}, {"image_id": "j", "path": "/elsewhere/j.jpg"}],
        "CROPS": [{"crop_id": f"d/{i}.jpg", "box_id": f"b{i}", "image_id": i, "path": f"d/{i}.jpg"} for i in "ij"],
        "EXAMPLES": [
            {
                "crop_id": "d/i.jpg",
                "labels": ["red fox"],
                "image_id": "i",
                "dataset": "d",
                "group_id": "g",
                "weight": 1.0,
                "heldback": False,
            }
        ],
        "SPLITS": [{"group_id": "g", "split": "val"}],
        "ISSUES": [
            {"crop_id": "d/j.jpg", "kind": kind, "evidence": "why", "score": score}
            for kind, score in (("blurred", 0.2), ("outlier", 0.9))
        ],
    }
    for name, found in rows.items():
        schema = getattr(schemas, name)
        tables.write(
            root / f"tables/{schema.name}.parquet", pl.DataFrame(found, schema=schema.columns, orient="row"), schema
        )
    features = pl.DataFrame({"crop_id": ["d/j.jpg"], "model": ["m"], "embedding": np.array([[3.0, 4.0]], np.float32)})
    tables.save(root / "tables/embeddings.parquet", features)
    return root


def test_what_is_known_of_a_projects_crops(root):
    found = material.of_project(Project(root))
    one, two = found.rows.to_dicts()
    assert (one["label"], one["split"], one["location"], one["issues"]) == ("red fox", "val", "007", [])
    assert (two["label"], two["split"], two["issues"]) == ("fox", None, ["outlier", "blurred"])
    assert two["issue_score"] == pytest.approx(0.9)
    assert one["crop_path"] == str(root / "crops/d/i.jpg")
    assert [one["frame_path"], two["frame_path"]] == [str(root / "photos/i.jpg"), "/elsewhere/j.jpg"]
    assert isinstance(found.features, material.Later)
    np.testing.assert_allclose(np.asarray(found.features()), [[0, 0], [0.6, 0.8]], rtol=1e-6)
    assert found.labels == ["fox", "red fox"]
    assert found.corrections == root / "corrections.csv"


def test_a_project_without_crops(root):
    (root / "tables/crops.parquet").unlink()
    with pytest.raises(InputError, match="trapline run --until dataset"):
        material.of_project(Project(root))


def test_a_list_that_climbs_out_of_its_folder(tmp_path):
    path = write_list(tmp_path, ["a.jpg", "../secret.jpg", "/etc/passwd"])
    with pytest.raises(InputError, match="names 2 files that cannot lie below") as caught:
        material.of_list(path, tmp_path)
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize(("text", "words"), [("file,label\na,b\n", "lacks the columns rank"), ("", "not a CSV")])
def test_a_list_that_is_none(tmp_path, text, words):
    (tmp_path / "review.csv").write_text(text)
    with pytest.raises(InputError, match=words):
        material.of_list(tmp_path / "review.csv", tmp_path)


def test_how_to_reach_it_over_ssh(monkeypatch):
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    monkeypatch.delenv("JUPYTERHUB_USER", raising=False)
    assert how_to_reach(8123, "t0k") == ["open http://127.0.0.1:8123/?token=t0k"]
    monkeypatch.setenv("SSH_CONNECTION", "10.0.0.1 1 10.0.0.2 22")
    assert any("ssh -N -L 8123:127.0.0.1:8123 " in line for line in how_to_reach(8123, "t0k"))
