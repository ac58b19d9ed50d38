"""Old projects move in: from the furthest step that is complete, with the crops that are there."""

import shutil
from collections import Counter

import polars as pl
import pytest

from old_chain import OldTree
from projects import QUICK
from trapline.cli import run_command
from trapline.io import project_file
from trapline.project import Project


@pytest.fixture
def tree(tmp_path):
    return OldTree(tmp_path / "home").everything()


@pytest.fixture
def move_in(tmp_path, tree, capsys):
    """Run `trapline init DIR --from-old BASE`; (exit code, what it printed, the project)."""

    def run(base=None, name="p"):
        before = snapshot(tree.home)
        code = run_command(["init", str(tmp_path / name), "--from-old", str(base or tree.home)])
        text = "".join(capsys.readouterr())
        assert "Traceback" not in text
        assert snapshot(tree.home) == before  # the old tree is never touched
        return code, text, Project(tmp_path / name) if code == 0 else None

    return run


def snapshot(home):
    return {path: path.stat().st_mtime_ns for path in home.rglob("*") if path.is_file()}


def splits_of(project):
    places = project.table("examples").join(project.table("splits"), on="group_id")
    return {name: sorted(set(places.filter(split=name)["location_id"])) for name in ("train", "val", "test")}


def test_a_whole_tree_goes_on_from_its_dataset_and_splits(move_in, tree, tmp_path):
    shutil.rmtree(tree.images)  # nothing needs them any more
    code, text, project = move_in()
    assert code == 0
    assert "going on from classification_ds.csv" in text
    assert "classification_ds.csv: 70 crops, 70 of them on disk and whole" in text
    assert "islands_md.json has 2 more crops, which the old chain left out on the way" in text
    assert "the former splits are kept (9 of 9 places)" in text
    project_file.set_values(project.layout.config, "train", QUICK.model_dump(mode="json", exclude_unset=True))
    assert run_command(["run", "--project", str(tmp_path / "p")]) == 0
    project = Project(tmp_path / "p")
    assert splits_of(project) == {
        "train": tree.places[:5],
        "val": tree.places[5:7],
        "test": tree.places[7:],
    }
    old = tree.crops / "cam3/IMG_0004_e3-4.jpg___crop00.jpg"
    assert (tmp_path / "p/crops/islands/cam3/IMG_0004_e3-4.jpg___crop00.jpg").samefile(old)
    written = pl.read_csv(tmp_path / "p/dataset/classification_ds.csv", infer_schema=False)
    former = pl.read_csv(tree.logdir / "classification_ds.csv", infer_schema=False)
    same = ["path", "dataset", "location", "label"]
    assert written.select(same).sort("path").rows() == former.select(same).sort("path").rows()
    assert (tmp_path / "p/dataset/label_index.json").read_text() == (tree.logdir / "label_index.json").read_text()
    assert project.table("metrics").filter(name="macro_recall", split="test", label="", group_kind="").height == 1


def test_without_the_dataset_it_goes_on_from_the_queried_images(move_in, tree):
    for name in ("classification_ds.csv", "label_index.json"):
        (tree.logdir / name).unlink()
    code, text, project = move_in()
    assert code == 0
    assert "going on from queried_images.json" in text
    assert "queried_images.json: 71 crops, 71 of them on disk and whole" in text  # the empty frame among them
    project.run(until="split")
    counts = project.table("examples").explode("labels").group_by("labels").len().rows()
    single = [boxes[0][0] for boxes in tree.boxes.values() if len(boxes) == 1]
    assert dict(counts) == Counter(single)
    assert splits_of(project)["test"] == tree.places[7:]


def test_without_a_logdir_it_goes_on_from_every_crop(move_in, tree):
    shutil.rmtree(tree.logdir)
    code, text, project = move_in()
    assert code == 0
    assert "islands_md.json: 72 crops, 72 of them on disk and whole; without 1 boxes of empty images" in text
    project.run(until="dataset")
    examples = project.table("examples")
    assert examples.height == 72
    both = examples.filter(pl.col("crop_id").str.contains(tree.two_animals, literal=True))
    assert both.select("crop_id", "labels").rows() == [
        (f"islands/{tree.two_animals}___crop00.jpg", ["fox"]),
        (f"islands/{tree.two_animals}___crop01.jpg", ["owl"]),
    ]


def test_half_a_crop_is_no_crop(move_in, tree):
    """A kill left truncated crops, which the old chain kept for ever; the images are there, so they are cut again."""
    half = tree.crops / "cam3/IMG_0004_e3-4.jpg___crop00.jpg"
    half.write_bytes(half.read_bytes()[:-40])
    code, text, project = move_in()
    assert code == 0
    assert "69 of them on disk and whole (first that is not: islands/cam3/IMG_0004_e3-4.jpg___crop00.jpg)" in text
    assert "going on from islands_cct.json" in text
    project.run(until="split")
    assert project.table("crops")["failure"].null_count() == 73 - 1  # of every box but the empty frame's
    assert project.table("images")["captured_at"].null_count() == 0
    assert splits_of(project)["test"] == tree.places[7:]


def test_where_nothing_is_complete_the_nearest_step_is_taken(move_in, tree, capsys, tmp_path):
    gone = tree.crops / "cam3/IMG_0004_e3-4.jpg___crop00.jpg"
    gone.unlink()
    shutil.rmtree(tree.images)
    code, text, _ = move_in()
    assert code == 0
    assert "no step is complete. classification_ds.csv is nearest to it; 1 of its 70 crops are not on disk" in text
    assert run_command(["run", "--until", "split", "--project", str(tmp_path / "p")]) == 3
    assert "1 not on disk" in "".join(capsys.readouterr())


def test_only_an_export_is_fetched_as_the_old_script_did(move_in, tree):
    for folder in (tree.logdir, tree.home / "images", tree.home / "crops"):
        shutil.rmtree(folder)
    (tree.mdcache / "islands_md.json").unlink()
    code, text, project = move_in()
    assert code == 0
    assert project.config.datasets["islands"].images == "s3://animl-images-archive-prod"
    assert "trapline fetch --profile NAME --save" in text


def test_datasets_that_the_list_does_not_name_are_said(move_in, tree):
    content = (tree.mdcache / "islands_cct.json").read_text()
    (tree.mdcache / "mainland_cct.json").write_text(content)
    code, text, _ = move_in()
    assert code == 0
    assert "1 datasets are not in classification_ds.csv and were left out: mainland" in text
    assert "--dataset mainland" in text


def test_labels_that_disagree_are_said(move_in, tree):
    (tree.logdir / "label_index.json").write_text('{"0": "fox", "1": "owl", "2": "wolf"}')
    _, text, _ = move_in()
    assert "1 labels are only in label_index.json: wolf" in text
    assert "1 labels are not in label_index.json: skunk" in text


def test_what_is_no_old_tree(move_in, tmp_path, tree):
    empty = tmp_path / "home" / "crops"
    code, text, _ = move_in(empty)
    assert code == 2
    assert "holds nothing of the old chain: no mdcache/*/*.json" in text
    assert not (tmp_path / "p").exists()
    code, text, _ = move_in(tmp_path / "nowhere")
    assert (code, "is not a folder. Name the one above mdcache" in text) == (2, True)
    (tree.logdir / "queried_images.json").write_text('{"islands/a.jpg": {"dataset": 7}}')
    code, text, _ = move_in()
    assert code == 2
    assert "queried_images.json" in text
    assert not (tmp_path / "p").exists()


def test_nothing_is_overwritten(move_in):
    assert move_in()[0] == 0
    code, text, _ = move_in()
    assert code == 2
    assert "is a project already" in text


def test_alone(tmp_path, capsys):
    code = run_command(["init", str(tmp_path / "p"), "--from-old", str(tmp_path), "--images", "x"])
    assert (code, "give it alone" in "".join(capsys.readouterr())) == (2, True)
