"""`trapline inspect` from the shell, over a small drawn project: what it writes, says and ends with."""

import polars as pl
import pytest

from projects import draw_small, write_project
from trapline.cli import run_command
from trapline.core.schemas import ISSUES
from trapline.project import Project


@pytest.fixture(scope="module")
def inspected(tmp_path_factory):
    """A project that was run to its end, and inspected."""
    drawn = draw_small(tmp_path_factory.mktemp("drawn"))
    root = write_project(tmp_path_factory.mktemp("project") / "islands", drawn)
    assert run_command(["run", "-p", str(root), "--until", "predict"]) == 0
    assert run_command(["inspect", "-p", str(root), "--margin", "0.1"]) == 0
    return drawn, root


def say(capsys, *arguments):
    capsys.readouterr()
    code = run_command([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert "Traceback" not in captured.out + captured.err
    return code, captured.out + captured.err


@pytest.mark.slow
def test_rows_are_of_the_projects_crops_and_explain_themselves(inspected):
    _, root = inspected
    project = Project(root)
    found = ISSUES.check(project.table("issues"))
    assert found.height
    assert found["crop_id"].is_in(project.table("examples")["crop_id"].implode()).all()
    assert not found.select("crop_id", "kind").is_duplicated().any()
    assert (found["evidence"].str.len_chars() > 10).all()
    assert found["score"].is_between(0, 1).all()


@pytest.mark.slow
def test_candidates_are_held_out_crops_that_the_classifier_calls_otherwise(inspected):
    """The old chain's rule, computed again from the tables of the project."""
    _, root = inspected
    project = Project(root)
    record = project.records.read("predict")
    names = sorted(project.table("examples")["labels"].list.first().unique())
    rows = project.table("examples").join(project.table("splits"), on="group_id").filter(
        pl.col("heldback") | (pl.col("split") != "train")
    )  # fmt: skip
    scores = dict(project.table("predictions").select("crop_id", "scores").iter_rows())
    wanted = set()
    for crop_id, (label,) in rows.select("crop_id", "labels").iter_rows():
        of = dict(zip(names, scores[crop_id], strict=True))
        best = max(of, key=of.__getitem__)
        if best != label and of[best] - of[label] >= 0.1:
            wanted.add(crop_id)
    assert record is not None
    found = project.table("issues").filter(kind="mislabeled_candidate")
    assert set(found["crop_id"]) == wanted
    assert wanted, "a classifier of two epochs errs"


@pytest.mark.slow
def test_what_is_printed_and_the_page(inspected, capsys):
    _, root = inspected
    code, text = say(capsys, "inspect", "-p", root, "--margin", "0.1")
    assert code == 0
    said = " ".join(text.split())
    assert f"all {Project(root).table('issues').height:,} are in" in said
    for kind in Project(root).table("issues")["kind"].unique():
        assert kind in said
    page = (root / "inspect.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "Where the classifier is sure of another label" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "<script" not in page


@pytest.mark.slow
def test_failures_are_said_at_the_end_and_a_margin_that_is_none_at_once(inspected, capsys):
    drawn, root = inspected
    code, text = say(capsys, "inspect", "-p", root, "--max-failures", "0")
    assert code == 3
    assert f"{len(drawn.broken)} images failed and max_failures is 0" in " ".join(text.split())
    assert "to look at, and to send on:" in text
    code, text = say(capsys, "inspect", "-p", root, "--margin", "95")
    assert (code, "from 0 to 1, not 95" in text) == (2, True)
