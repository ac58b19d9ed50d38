import gzip

import numpy as np
import polars as pl
import pytest

from trapline.core.errors import InputError
from trapline.formats import outputs

SCORES = np.array([[0.25, 0.75], [0.1, 0.9]], np.float32)


def some(labels=("coyote", "deer")):
    crop_ids = ["d/a.jpg___crop00.jpg", "d/b, c.jpg___crop00.jpg"]
    return outputs.Outputs(crop_ids, ["deer", "coyote"], np.array([0.5, 1.5]), labels, SCORES)


def test_outputs_have_the_reference_chains_columns(tmp_path):
    outputs.write_outputs(tmp_path / "outputs_test.csv.gz", some())
    text = gzip.decompress((tmp_path / "outputs_test.csv.gz").read_bytes()).decode()
    assert text == (
        "path,label,weight,coyote,deer\n"
        "d/a.jpg___crop00.jpg,deer,0.5,0.25,0.75\n"
        '"d/b, c.jpg___crop00.jpg",coyote,1.5,0.1,0.9\n'
    )


def test_the_same_rows_give_the_same_bytes(tmp_path):
    for name in ("one.csv.gz", "two.csv.gz"):
        outputs.write_outputs(tmp_path / name, some())
    one, two = ((tmp_path / name).read_bytes() for name in ("one.csv.gz", "two.csv.gz"))
    assert one == two
    assert one[3:8] == b"\0\0\0\0\0"  # neither a file name nor a time in the gzip header


@pytest.mark.parametrize("labels", [("coyote", "deer"), ("path", "weight"), ('<script>"', "a,b"), ("two\nlines", "é")])
def test_outputs_read_back(tmp_path, labels):
    outputs.write_outputs(tmp_path / "o.csv.gz", some(labels))
    found = outputs.read_outputs(tmp_path / "o.csv.gz")
    assert (found.labels, found.crop_ids, found.truth) == (list(labels), some().crop_ids, some().truth)
    np.testing.assert_array_equal(found.scores, SCORES)
    np.testing.assert_array_equal(found.weights, [0.5, 1.5])


def test_a_split_without_crops_is_a_header(tmp_path):
    nothing = outputs.Outputs([], [], np.zeros(0), ["coyote"], np.zeros((0, 1), np.float32))
    outputs.write_outputs(tmp_path / "o.csv.gz", nothing)
    found = outputs.read_outputs(tmp_path / "o.csv.gz")
    assert found.labels == ["coyote"]
    assert found.scores.shape == (0, 1)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"not gzip", "is not an outputs CSV"),
        (gzip.compress(b""), "is not an outputs CSV"),
        (gzip.compress(b"path,label,score\na,b,1\n"), "begins with path, label, score"),
        (gzip.compress(b"path,label,weight,deer\na,deer,1,many\n"), "is not an outputs CSV"),
    ],
    ids=["not gzip", "empty", "other columns", "words for scores"],
)
def test_other_files_are_refused(tmp_path, content, problem):
    (tmp_path / "o.csv.gz").write_bytes(content)
    with pytest.raises(InputError, match=problem):
        outputs.read_outputs(tmp_path / "o.csv.gz")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="is missing"):
        outputs.read_outputs(tmp_path / "o.csv.gz")


def test_overall_metrics_hold_percentages_and_blanks(tmp_path):
    nan = float("nan")
    rows = [{"split": "val", "loss": 0.5, "acc_top1": 0.75}, {"split": "test", "loss": nan, "acc_top1": nan}]
    outputs.write_overall(tmp_path / "overall_metrics.csv", rows)
    assert (tmp_path / "overall_metrics.csv").read_text() == "split,loss,acc_top1\nval,0.5,75.0\ntest,,\n"
    assert outputs.read_overall(tmp_path / "overall_metrics.csv")["acc_top1"].to_list() == [0.75, None]


def test_label_stats(tmp_path):
    rows = [{"split": "test", "label": "a,b", "precision": float("nan"), "recall": 0.5}]
    outputs.write_label_stats(tmp_path / "label_stats.csv", rows)
    assert (tmp_path / "label_stats.csv").read_text() == 'split,label,precision,recall\ntest,"a,b",,0.5\n'
    assert pl.read_csv(tmp_path / "label_stats.csv")["label"].to_list() == ["a,b"]


def test_confusion_matrices_read_as_numpys_own(tmp_path):
    matrices = {"val": np.eye(2, dtype=int), "test": np.array([[1, 2], [3, 4]])}
    for name in ("one.npz", "two.npz"):
        outputs.write_confusion(tmp_path / name, matrices)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    with np.load(tmp_path / "one.npz") as found:
        assert set(found.files) == {"val", "test"}
        assert found["test"].tolist() == [[1, 2], [3, 4]]
        assert found["test"].dtype == np.int64
    assert outputs.read_confusion(tmp_path / "one.npz")["val"].tolist() == [[1, 0], [0, 1]]
