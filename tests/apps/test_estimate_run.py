"""`trapline estimate run`, as a person uses it."""

import json

import pytest
from PIL import Image

from trapline.apps.estimate_run import estimate_run, simulate_run
from trapline.apps.init import init
from trapline.cli import run_command
from trapline.core.log import Log
from trapline.core.scale.plan import Plan


def said(capsys, *words):
    code = run_command(["estimate", "run", *words])
    out, err = capsys.readouterr()
    return code, out + err


def test_it_prints_each_stage_what_binds_it_and_the_dollars(capsys):
    code, text = said(capsys, "--count", "1e8", "--nodes", "20")
    assert code == 0
    rows = {words[0]: words for words in (line.split() for line in text.splitlines()) if words}
    assert rows["crop"][1:3] == ["100,000,000", "20"]
    assert rows["predict"][1:3] == ["120,000,000", "20"]
    assert "PUT rate" in text
    assert "check before use" in text
    assert "not measured" in text  # the GPU's rate


def test_json_holds_the_same_figures(capsys):
    code, text = said(capsys, "--count", "1e7", "--nodes", "20", "--instance", "c6i.4xlarge", "--json", "--simulate")
    found = json.loads(text)
    plan = Plan(10**7, 20, "c6i.4xlarge")
    expected = estimate_run(plan)
    assert code == 0
    assert found["seconds"] == pytest.approx(expected.seconds)
    assert found["total_dollars"] == pytest.approx(expected.total)
    assert [stage["bound_by"] for stage in found["stages"]] == [stage.bound_by for stage in expected.stages]
    assert [one["longest_s"] for one in found["simulated"]] == [one.longest_s for one in simulate_run(plan)]


def test_costs_of_another_machine_change_the_answer(capsys, tmp_path):
    words = ("--count", "1e6", "--nodes", "2", "--packed", "--instance", "m6i.2xlarge", "--train-crops", "0")
    _, text = said(capsys, *words, "--json")
    (tmp_path / "costs.json").write_text(text)
    _, same = said(capsys, *words, "--json", "--costs", str(tmp_path / "costs.json"))
    assert json.loads(same)["seconds"] == json.loads(text)["seconds"]
    slow = json.loads(text)["costs"]
    slow["crop_mp_s"] *= 10
    (tmp_path / "costs.json").write_text(json.dumps(slow))
    _, slower = said(capsys, *words, "--json", "--costs", str(tmp_path / "costs.json"))
    assert json.loads(slower)["stages"][0]["seconds"] > 2 * json.loads(text)["stages"][0]["seconds"]


def test_images_are_taken_from_a_project_that_they_are_like(capsys, tmp_path):
    """Four frames of 40 x 30 px in two files' sizes, six boxes."""
    annotations = [
        {"id": f"{n}/{k}", "image_id": str(n), "category_id": 1, "bbox": [1 + 5 * k, 1, 10, 10]}
        for n, boxes in enumerate((1, 3, 2, 0))
        for k in range(boxes)
    ]
    images = [{"id": str(n), "file_name": f"{n}.jpg", "location": f"p{n}", "width": 40, "height": 30} for n in range(4)]
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "fox"}]}
    (tmp_path / "export.json").write_text(json.dumps(content))
    (tmp_path / "photos").mkdir()
    for n in range(4):
        Image.new("RGB", (40, 30), (60 * n, 90, 30)).save(tmp_path / "photos" / f"{n}.jpg")
    mean = sum(path.stat().st_size for path in (tmp_path / "photos").iterdir()) / 4
    project = init(tmp_path / "p", [tmp_path / "export.json"], str(tmp_path / "photos"), log=Log())
    words = ("--count", "1e6", "--like", str(tmp_path / "p"), "--json")
    code, text = said(capsys, *words)
    assert code == 2
    assert "trapline ingest" in text
    project.run(until="fetch")
    plan = json.loads(said(capsys, *words)[1])["plan"]
    assert plan["image_mb"] == pytest.approx(mean / 1e6)
    assert plan["megapixels"] == pytest.approx(0.0012)
    assert plan["boxes_per_image"] == pytest.approx(1.5)
    assert json.loads(said(capsys, *words, "--image-mb", "3")[1])["plan"]["image_mb"] == 3


def test_within_finds_how_many_machines(capsys):
    _, text = said(capsys, "--count", "1e8", "--within", "72h", "--packed", "--json")
    found = json.loads(text)
    nodes = found["plan"]["nodes"]
    assert found["seconds"] <= 72 * 3600
    assert estimate_run(Plan(10**8, nodes - 1, packed=True)).seconds > 72 * 3600


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--count", "0"), "--count 0: at least 1"),
        (("--count", "1.5"), "--count 1.5: a whole number"),
        (("--count", "nan"), "a whole number"),
        (("--count", "10", "--instance", "toaster"), "g4dn.xlarge"),
        (("--count", "10", "--within", "soon"), "write it as 24h"),
        (("--count", "10", "--within", "1h", "--nodes", "3"), "one of them"),
        (("--count", "1e9", "--within", "1h"), "bound by"),
        (("--count", "10", "--costs", "nowhere.json"), "No such file"),
        (("--count", "10", "--image-mb", "-1"), "above 0"),
    ],
)
def test_what_makes_no_sense_is_said(capsys, words, message):
    code, text = said(capsys, *words)
    assert code == 2
    assert message in text


def test_a_file_of_costs_that_is_none(capsys, tmp_path):
    (tmp_path / "costs.json").write_text("{")
    code, text = said(capsys, "--count", "10", "--costs", str(tmp_path / "costs.json"))
    assert code == 2
    assert "not JSON" in text
