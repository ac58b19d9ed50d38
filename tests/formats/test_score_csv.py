import gzip

import numpy as np
import polars as pl
import pytest

from trapline.core.errors import InputError
from trapline.formats import outputs, score_csv


def written(tmp_path, text, name="scores.csv"):
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


def test_the_old_chains_outputs(tmp_path):
    values = np.array([[0.25, 0.75], [0.1, 0.9]], np.float32)
    given = outputs.Outputs(["d/a.jpg", "d/b, c.jpg"], ["x", "y"], np.ones(2), ["coyote", "two\nlines"], values)
    outputs.write_outputs(tmp_path / "outputs_test.csv.gz", given)
    found = score_csv.read(tmp_path / "outputs_test.csv.gz")
    assert (found.paths.to_list(), found.labels, found.notes) == (given.crop_ids, given.labels, ())
    np.testing.assert_array_equal(found.values, values)


@pytest.mark.parametrize("name", ["scores.csv", "scores.csv.gz"])
def test_a_column_per_label(tmp_path, name):
    found = score_csv.read(written(tmp_path, "path,elk,fox\n./a.jpg,0.25,0.75\nb\\c.jpg,1,0\n", name))
    assert found.paths.to_list() == ["a.jpg", "b/c.jpg"]
    assert found.labels == ["elk", "fox"]
    np.testing.assert_array_equal(found.values, np.array([[0.25, 0.75], [1, 0]], np.float32))
    assert found.notes == ()


def test_what_is_written_is_read(tmp_path):
    values = np.random.default_rng(0).dirichlet(np.ones(3), 5).astype(np.float32)
    for name in ("o.csv", "o.csv.gz"):
        score_csv.write(tmp_path / name, pl.Series([f"{n}.jpg" for n in range(5)]), ["path", "b,c", '"'], values)
        found = score_csv.read(tmp_path / name)
        assert found.labels == ["path", "b,c", '"']
        np.testing.assert_array_equal(found.values, values)


def test_a_data_frames_numbering_and_columns_of_words_are_no_scores(tmp_path):
    found = score_csv.read(
        written(tmp_path, ",File Name,elk,camera,fox\n0,a.jpg,0.5,north,0.5\n1,b.jpg,0.5,south,0.5\n")
    )
    assert found.labels == ["elk", "fox"]
    assert found.notes == ("columns of words in scores.csv are no scores: camera.",)


def test_a_column_that_begins_with_whole_numbers_or_nothing_is_scores_all_the_same(tmp_path):
    rows = [f"{n},0,1,\n" for n in range(10_500)]
    found = score_csv.read(written(tmp_path, "path,elk,fox,owl\n" + "".join(rows) + "last,0.25,0.25,0.5\n"))
    assert found.labels == ["elk", "fox", "owl"]
    assert found.paths[0] == "0"
    assert found.values[-1].tolist() == [0.25, 0.25, 0.5]


def test_a_label_and_how_sure(tmp_path):
    text = "filepath,prediction,confidence\na.jpg,fox,0.9\nb.jpg,elk,0.6\nb.jpg,fox,0.3\nc.jpg,,\n"
    found = score_csv.read(written(tmp_path, text))
    assert found.paths.to_list() == ["a.jpg", "b.jpg"]
    assert found.labels == ["elk", "fox"]
    np.testing.assert_allclose(found.values, [[0, 0.9], [0.6, 0.3]], atol=1e-7)
    assert "not what else was likely" in found.notes[0]


def test_scores_that_do_not_sum_to_one_are_told(tmp_path):
    found = score_csv.read(written(tmp_path, "path,elk,fox\na.jpg,0.5,0.5\nb.jpg,0.9,0.8\n"))
    assert "the scores of 1 of 2 rows of scores.csv do not sum to 1 (first: b.jpg)" in found.notes[0]


def test_a_missing_score_is_left_to_the_evaluation(tmp_path):
    found = score_csv.read(written(tmp_path, "path,elk,fox,owl\na.jpg,,0.5,\nb.jpg,0.5,0.5,\n"))
    assert found.labels == ["elk", "fox", "owl"]
    assert np.isnan(found.values).tolist() == [[True, False, True], [False, False, True]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not a CSV of scores|holds no scores"),
        ("elk,fox\n0.5,0.5\n", "does not begin with a column of paths \\(it begins with elk, fox\\)"),
        ("path,elk,fox\na.jpg,97,3\n", "1 of 1 rows of .* outside 0 to 1 \\(first: 97 for a.jpg\\).*softmax"),
        ("path,elk,fox\na.jpg,-3.5,2\n", "outside 0 to 1"),
        ("path,elk,elk\na.jpg,0.5,0.5\n", "two columns of scores of 'elk'"),
        ("path,elk\na.jpg,1\na.jpg,1\n", "lists 1 crops again \\(first: a.jpg\\)"),
        ("path,elk\n,1\n", "1 of 1 rows of .* have no path"),
        ("path\na.jpg\n", "no column of scores"),
        ("path,elk\na.jpg,1,2\n", "2 names head 3 columns"),
    ],
)  # fmt: skip
def test_other_files_are_refused(tmp_path, text, words):
    with pytest.raises(InputError, match=words):
        score_csv.read(written(tmp_path, text))


def test_a_missing_or_torn_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="there is no file"):
        score_csv.read(tmp_path / "none.csv")
    path = written(tmp_path, "path,elk\na.jpg,1\n", "scores.csv.gz")
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(InputError, match="is not a CSV of scores"):
        score_csv.read(path)
    path.write_bytes(b"\x1f\x8b" + b"rubbish")
    with pytest.raises(InputError, match="is not a CSV of scores"):
        score_csv.read(path)
