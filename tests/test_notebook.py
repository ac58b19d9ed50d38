"""The notebook from its first cell to its last, on a small set; and a project that shows itself."""

import html
import json
import os

import nbformat
import pytest
from nbclient import NotebookClient

from documented import ROOT
from exports import animl_image, animl_object, write
from projects import QUICK, draw_small, write_project
from trapline.io.notebook import bar
from trapline.project import Project

NOTEBOOK = ROOT / "notebooks" / "studio_lab.ipynb"


@pytest.mark.slow
def test_the_notebook_ends_with_a_trained_classifier(tmp_path):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    settings = next(cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ()))
    train = QUICK.model_dump(mode="json", exclude_unset=True)
    settings.source += f"\nPROJECT = Path({str(tmp_path / 'islands')!r})\nTRAIN = {train!r}"
    environment = {**os.environ, "IPYTHONDIR": str(tmp_path / "ipython"), "JUPYTER_RUNTIME_DIR": str(tmp_path / "run")}
    NotebookClient(notebook, timeout=600, kernel_name="python3").execute(env=environment, cwd=str(NOTEBOOK.parent))
    shown = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    text = "".join(output.get("text", "") for output in shown)
    pages = [output["data"]["text/html"] for output in shown if "text/html" in output.get("data", {})]
    assert any("macro recall at test cameras" in page for page in pages)
    assert any("<svg" in page for page in pages)  # the splits' figure
    assert "boxes -> " in text  # what stages say is seen below the cell
    assert "report.html" in text
    assert "GPU memory at most: " in text
    project = Project(tmp_path / "islands")
    assert project.status()[-1].state == "up to date"
    assert (tmp_path / "islands/runs/001-test_efficientnet/checkpoints/best.pt").exists()


def test_the_notebook_is_stored_without_outputs():
    content = json.loads(NOTEBOOK.read_text())
    for cell in content["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shown")
    root = write_project(folder / "p", draw_small(folder / "drawn"))
    made = Project(root)
    made.run(until="split")
    return made


def test_a_project_shows_how_it_stands(project):
    shown = project._repr_html_()
    assert f"trapline project {project.layout.root}" in shown
    for row in ("<td>split</td><td>up to date</td>", "<td>train</td><td>not made</td>"):
        assert row in shown
    counts = project.table("examples").explode("labels").group_by("labels").len()
    for label, crops in counts.iter_rows():
        assert f"<td>{label}</td>" in shown
        assert f"{crops:,} crops" in shown
    assert shown.count("<svg") == 1
    for record in (project.records.read("crop"), project.records.read("split")):
        for warning in record.warnings:
            assert html.escape(warning) in shown


def test_nothing_is_shown_unescaped(tmp_path):
    name = "<script>alert(1)</script>"
    images = [animl_image(f"e{k}:i", f"L{k}") for k in range(2)]
    export = write(
        tmp_path / "e.json", images, [animl_object(f"o{k}", f"e{k}:i", name) for k in range(2)], names=("empty", name)
    )
    content = {"datasets": {"p": {"annotations": [str(export)], "images": str(tmp_path)}}}
    (tmp_path / "trapline.yaml").write_text(json.dumps(content))
    made = Project(tmp_path)
    made.run(until="ingest")
    assert "<script" not in made._repr_html_()


def test_a_bar_says_rate_and_time_left():
    shown = bar("crops made", 50, 200, 10.0, "<loss>")
    assert '<progress value="50" max="200">' in shown
    assert "crops made: 50 of 200, 5.0/s, 30 s left &lt;loss&gt;" in shown
    assert bar("x", 0, 0, 0.0, "").startswith('<progress value="0" max="1">')
