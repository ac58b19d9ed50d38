"""The reference chain's files, read back as its own programs read them: csv and json."""

import csv
import json

import polars as pl

from trapline.core.schemas import EXAMPLES, SPLITS
from trapline.formats import ms_classification as ms


def examples(*rows):
    blank = dict.fromkeys(EXAMPLES.columns)
    fixed = {"weight": 1.0, "heldback": False}
    return pl.DataFrame([{**blank, **fixed, **row} for row in rows], schema=EXAMPLES.columns)


ROWS = examples(
    {
        "crop_id": "is/a.jpg___crop00.jpg",
        "labels": ["fox"],
        "dataset": "is",
        "location_id": "17",
        "group_id": "is/cam1",
    },
    {
        "crop_id": "is/b.jpg___crop00.jpg",
        "labels": ["cat", "dog"],
        "dataset": "is",
        "location_id": "Öre, S",
        "group_id": "is/cam1",
    },
    {"crop_id": "is/c.jpg___crop00.jpg", "labels": ["fox"], "dataset": "is", "group_id": "sequence is/c"},
)


def test_classification_ds(tmp_path):
    confidence = pl.DataFrame(
        {
            "crop_id": ["is/b.jpg___crop00.jpg", "is/a.jpg___crop00.jpg"],
            "source_label": ["Cat", "Vulpes"],
            "conf": [0.5, None],
        }
    )
    ms.write_dataset_csv(tmp_path / "classification_ds.csv", ROWS, confidence)
    with open(tmp_path / "classification_ds.csv", encoding="utf-8", newline="") as stream:
        assert list(csv.reader(stream)) == [
            ["path", "dataset", "location", "dataset_class", "confidence", "label"],
            ["is/a.jpg___crop00.jpg", "is", "17", "Vulpes", "1.0", "fox"],
            ["is/b.jpg___crop00.jpg", "is", "Öre, S", "Cat", "0.5", "cat,dog"],
            ["is/c.jpg___crop00.jpg", "is", "sequence is/c", "", "1.0", "fox"],
        ]


def test_label_index(tmp_path):
    ms.write_label_index(tmp_path / "label_index.json", ["skunk", "Fox", "empty", "fox"])
    text = (tmp_path / "label_index.json").read_text()
    assert json.loads(text) == {"0": "Fox", "1": "empty", "2": "fox", "3": "skunk"}
    assert list(json.loads(text)) == ["0", "1", "2", "3"]


def test_splits(tmp_path):
    splits = pl.DataFrame(
        {"group_id": ["is/cam1", "sequence is/c"], "split": ["train", "test"], "fold": [None, None]},
        schema=SPLITS.columns,
    )
    ms.write_splits(tmp_path / "splits.json", ROWS, splits)
    assert json.loads((tmp_path / "splits.json").read_text()) == {
        "train": [["is", "17"], ["is", "Öre, S"]],
        "val": [],
        "test": [["is", "sequence is/c"]],
    }
