"""`trapline labels` and projects from an old dataset file, as their user meets them."""

import json

import polars as pl
import pytest

from drawing import draw
from exports import animl_image, animl_object, write
from trapline import Project, init, labels
from trapline.apps.labels import suggest, write_suggestion
from trapline.apps.split_plot import plot
from trapline.core.config import DatasetConfig, DatasetSource, ProjectConfig
from trapline.core.errors import InputError
from trapline.io import project_file
from trapline.report import split_figure

NAMES = ("empty", "Island Fox", "island_foxes", "skunk", "vehicle", "owl")


def project(tmp_path, **dataset):
    images, objects = [], []
    plan = [("Island Fox", 4), ("island_foxes", 2), ("skunk", 3), ("vehicle", 1), ("owl", 1), ("empty", 2)]
    for label, n in plan:
        for k in range(n):
            name = f"x:{len(images):04d}"
            images.append(animl_image(name, f"Ridge{k}", camera=f"cam{k}"))
            objects.append(animl_object(f"o{len(objects)}", name, label, [10 + k, 20, 100, 50]))
    source = DatasetSource(annotations=(str(write(tmp_path / "export.json", images, objects, NAMES)),))
    root = tmp_path / "p"
    root.mkdir()
    config = ProjectConfig.model_validate({"datasets": {"is": source}, "dataset": dataset})
    project_file.write_new(root / "trapline.yaml", config)
    return Project(root)


def test_the_table_says_what_happens_and_why(tmp_path):
    found = labels(project(tmp_path, label_map={"island_foxes": "Island Fox"}, exclude=["vehicle"], max_per_label=5))
    rows = {row["label"]: row for row in found.iter_rows(named=True)}
    assert next(iter(rows)) == "Island Fox"
    assert rows["Island Fox"]["boxes"] == 4
    assert rows["Island Fox"]["share"] == pytest.approx(4 / 11)
    assert rows["island_foxes"]["becomes"] == "Island Fox"
    assert rows["island_foxes"]["why"].startswith("becomes Island Fox")
    capped = [rows[name]["why"] for name in ("Island Fox", "island_foxes")]
    assert sum("1 of" in why and "over max_per_label" in why for why in capped) == 1
    assert (rows["vehicle"]["becomes"], rows["vehicle"]["why"]) == ("", "1 of 1 left out: of an excluded label")
    assert rows["owl"]["why"] == "rare: 1 groups (min_locs 3), 1 crops (min_examples 1)"
    assert (rows["empty"]["images"], rows["empty"]["boxes"]) == (2, 0)
    assert rows["empty"]["why"].startswith("no box")


def test_a_suggestion_merges_spellings_and_drops_what_is_too_rare(tmp_path):
    opened = project(tmp_path)
    names, comments = suggest(labels(opened), DatasetConfig())
    assert names == {
        "Island Fox": "Island Fox",
        "skunk": "skunk",
        "island_foxes": "Island Fox",
        "owl": None,
        "vehicle": None,
    }
    assert comments["island_foxes"] == "2 boxes; spelling of Island Fox"
    write_suggestion(opened, tmp_path / "p" / "labels.yaml")
    with pytest.raises(InputError, match="exists already"):
        write_suggestion(opened, tmp_path / "p" / "labels.yaml")
    opened.save("dataset", {"label_map_file": "labels.yaml"})
    becomes = dict(labels(Project(tmp_path / "p")).select("label", "becomes").rows())
    assert becomes == {"Island Fox": "Island Fox", "island_foxes": "Island Fox", "skunk": "skunk"} | dict.fromkeys(
        ("owl", "vehicle", "empty"), ""
    )


CSV = "path,dataset,location,dataset_class,confidence,label\n"


def old_dataset(tmp_path, n=12, label="fox"):
    lines = [
        f"is/a/{k}.jpg___crop0{c}.jpg,is,{k:03d},x,0.9,{label if c else 'skunk'}\n" for k in range(n) for c in (0, 1)
    ]
    path = tmp_path / "old" / "classification_ds.csv"
    path.parent.mkdir()
    path.write_text(CSV + "".join(lines))
    return path


def test_an_old_dataset_file_alone_is_enough_to_split(tmp_path):
    path = old_dataset(tmp_path)
    (path.parent / "splits.json").write_text(json.dumps({"train": [], "val": [], "test": [["is", 3], ["is", "005"]]}))
    opened = init(tmp_path / "p", dataset_csv=path)
    opened.make("split", {"val_frac": 0.2, "test_frac": 0.1, "prove": 0})
    splits = json.loads((tmp_path / "p/dataset/splits.json").read_text())
    assert sorted(name for pairs in splits.values() for _, name in pairs) == [f"{k:03d}" for k in range(12)]
    assert [len(splits[name]) for name in ("train", "val", "test")] == [9, 2, 1]
    assert opened.table("examples").group_by("sequence_id").len()["len"].to_list() == [2] * 12
    with pytest.raises(InputError, match=r"24 examples have no picture.*--images CROPS_DIR"):
        opened.make("train")
    opened.make("split", {"match_test": "annotations/splits.json", "prove": 0})
    splits = json.loads((tmp_path / "p/dataset/splits.json").read_text())
    assert splits["test"] == [["is", "005"]]


def test_crops_beside_it_are_used_as_they_are(tmp_path):
    path = old_dataset(tmp_path, n=3)
    for k in range(3):
        for c in (0, 1):
            drawn = draw(tmp_path, f"40x40_red_{10 + k}x8_at_{5 + 9 * c}_6.jpg")
            target = tmp_path / f"crops/is/a/{k}.jpg___crop0{c}.jpg"
            target.parent.mkdir(parents=True, exist_ok=True)
            drawn.rename(target)
    opened = init(tmp_path / "p", dataset_csv=path, images=tmp_path / "crops")
    opened.make("split", {"prove": 0})
    made = opened.table("crops")
    assert made["failure"].null_count() == 6
    assert made.select("width_px", "height_px").unique().rows() == [(40, 40)]
    for name in made["crop_id"]:
        assert (tmp_path / "p/crops" / name).read_bytes() == (tmp_path / "crops" / name).read_bytes()


def test_several_labels_and_what_an_old_file_gets_wrong(tmp_path):
    path = old_dataset(tmp_path, label='"fox,owl"')
    opened = init(tmp_path / "p", dataset_csv=path)
    opened.run(until="ingest")
    assert set(opened.table("labels")["source_label"]) == {"skunk", "fox", "owl"}
    for text, message in [
        ("path,label\na,b\n", "lacks the columns dataset, location"),
        (CSV, "lists no crop"),
        (CSV + "a.jpg,is,1,x,1,\n", "1 of 1 rows .* lack path, dataset or label"),
        (CSV + "a.jpg,../is,1,x,1,fox\n", "cannot name folders"),
    ]:
        path.write_text(text)
        with pytest.raises(InputError, match=message):
            init(tmp_path / "q", dataset_csv=path)
    with pytest.raises(InputError, match="give one"):
        init(tmp_path / "q")
    assert not (tmp_path / "q").exists()


def test_the_picture_of_a_split(tmp_path):
    opened = init(tmp_path / "p", dataset_csv=old_dataset(tmp_path))
    opened.make("split", {"prove": 0})
    marked = plot(opened, tmp_path / "split.svg")
    assert set(marked) == {"fox", "skunk"}
    first = (tmp_path / "split.svg").read_bytes()
    assert first.startswith(b"<?xml")
    plot(opened, tmp_path / "split.svg")
    assert (tmp_path / "split.svg").read_bytes() == first
    table = split_figure.shares(opened.table("examples"), opened.table("splits"))
    assert table.select(pl.sum_horizontal("train", "val", "test")).to_series().to_list() == pytest.approx([1, 1])
    with pytest.raises(InputError, match=r"written as \.svg"):
        plot(opened, tmp_path / "split.gif")
