from datetime import datetime

import pytest

from trapline.core import schemas
from trapline.core.errors import InputError
from trapline.formats import example_csv


def read(tmp_path, text):
    (tmp_path / "examples.csv").write_text(text)
    return example_csv.read(tmp_path / "examples.csv")


def test_path_label_and_location_are_enough(tmp_path):
    examples, splits, notes = read(tmp_path, "path,label,location\nb.jpg,elk,007\na.jpg,fox,8\n")
    assert examples.select("crop_id", "labels", "location_id", "group_id").rows() == [
        ("a.jpg", ["fox"], "8", "examples/8"),
        ("b.jpg", ["elk"], "007", "examples/007"),
    ]
    assert splits.rows() == [("examples/007", "test", None), ("examples/8", "test", None)]
    assert notes == ()
    assert schemas.EXAMPLES.check(examples).equals(examples)


def test_columns_are_known_by_the_names_that_others_give_them(tmp_path):
    examples, splits, _ = read(
        tmp_path,
        "File Name,Species,Site,Dataset,DateTime,Sequence ID,Split\n"
        "x\\a.jpg,elk,s1,d,2026-05-01 06:07:08+02:00,q,val\nb.jpg,fox,s2,d,rubbish,q,TEST\n",
    )
    assert examples["crop_id"].to_list() == ["b.jpg", "x/a.jpg"]
    assert examples["captured_at"].to_list() == [None, datetime(2026, 5, 1, 6, 7, 8)]
    assert examples["sequence_id"].to_list() == ["q", "q"]
    assert dict(splits.select("group_id", "split").rows()) == {"d/s1": "val", "d/s2": "test"}


def test_the_old_chains_classification_ds(tmp_path):
    examples, _, _ = read(
        tmp_path,
        'path,dataset,location,dataset_class,confidence,label\nd/a.jpg,d,1,elk,1,"elk,fox"\nd/b.jpg,d,2,fox,1,fox\n',
    )
    assert examples["labels"].to_list() == [["elk", "fox"], ["fox"]]


def test_traplines_own_table(tmp_path):
    examples, _, _ = read(tmp_path, "path,label,location\na.jpg,elk,1\n")
    examples.write_parquet(tmp_path / "examples.parquet")
    again, splits, _ = example_csv.read(tmp_path / "examples.parquet")
    assert again.equals(examples)
    assert splits["split"].to_list() == ["test"]


def test_crops_without_a_location_are_one_group_and_it_is_told(tmp_path):
    examples, splits, notes = read(tmp_path, "path,label,sequence\na.jpg,elk,q\nb.jpg,elk,q\nc.jpg,fox,\n")
    assert examples["group_id"].to_list() == ["sequence q", "sequence q", "no location"]
    assert splits.height == 2
    assert notes == ("3 of 3 examples have no location: intervals are over locations.",)


def test_a_crop_without_a_label_stays_to_be_counted(tmp_path):
    examples, _, _ = read(tmp_path, "path,label,location\na.jpg,,1\n")
    assert examples["labels"].to_list() == [[]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("path,place\na.jpg,1\n", "has no column of labels, only path, place"),
        ("label\nelk\n", "has no column of paths"),
        ("path,label\n,elk\n", "1 of 1 rows of .* have no path"),
        ("path,label\na.jpg,elk\na.jpg,fox\n", "lists 1 crops more than once \\(first: a.jpg\\)"),
        ("path,label,location,split\na.jpg,elk,1,dev\n", "1 rows of .* name a split that is none of train, val, test"),
        ("path,label,location,split\na.jpg,elk,1,val\nb.jpg,elk,1,test\n", "1 locations of .* are in several splits"),
    ],
)
def test_other_tables_are_refused(tmp_path, text, words):
    with pytest.raises(InputError, match=words):
        read(tmp_path, text)


def test_a_missing_table_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        example_csv.read(tmp_path / "none.csv")
    (tmp_path / "x.parquet").write_bytes(b"rubbish")
    with pytest.raises(InputError, match="is not a table"):
        example_csv.read(tmp_path / "x.parquet")
