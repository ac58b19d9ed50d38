import json
import warnings

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

from trapline.cli import run_command
from trapline.formats import ms_classification, score_csv

COLOURS = {"red": (220, 20, 20), "green": (20, 220, 20), "blue": (20, 20, 220)}


class Channels(torch.nn.Module):
    def forward(self, x):
        return 3 * x.mean((2, 3))


@pytest.fixture
def crops(tmp_path):
    """Nine crops, one of them torn; a classifier of colours and its labels; a table that says what they are."""
    rows = ["path,label,location"]
    for n, (name, colour) in enumerate([*COLOURS.items()] * 3):
        path = tmp_path / "crops" / f"site {n % 2}" / f"{n}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (30, 30), colour).save(path)
        rows.append(f"site {n % 2}/{n}.png,{name},{n % 2}")
    (tmp_path / "crops" / "site 0" / "8.png").write_bytes(b"torn")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(Channels(), torch.zeros(1, 3, 32, 32)), str(tmp_path / "colours.pt"))
    (tmp_path / "label_index.json").write_text(json.dumps(dict(enumerate(COLOURS))))
    (tmp_path / "examples.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def predict(folder, *options):
    return run_command(
        [
            "predict", "--classifier", str(folder / "colours.pt"), "--label-index", str(folder / "label_index.json"),
            "--crops", str(folder / "crops"), "--out", str(folder / "o.csv.gz"), "--image-size", "32", *options,
        ]
    )  # fmt: skip


def test_another_classifier_is_run_and_evaluated(crops, capfd):
    assert predict(crops, "--max-failures", "1") == 0
    found = score_csv.read(crops / "o.csv.gz")
    assert found.labels == list(COLOURS)
    assert sorted(found.paths) == [f"site {n % 2}/{n}.png" for n in (0, 2, 4, 6, 1, 3, 5, 7)]
    named = dict(zip(found.paths, np.array(found.labels)[found.values.argmax(1)], strict=True))
    assert all(named[f"site {n % 2}/{n}.png"] == list(COLOURS)[n % 3] for n in range(8))
    assert "site 0/8.png: not an image" in capfd.readouterr().out
    assert not (crops / "o.csv.gz.parts").exists()
    given = ["--outputs", str(crops / "o.csv.gz"), "--examples", str(crops / "examples.csv")]
    assert run_command(["evaluate", *given, "--out", str(crops / "out"), "--crops", str(crops / "crops")]) == 0
    metrics = pl.read_parquet(crops / "out" / "metrics.parquet")
    assert metrics.filter(split="test", name="accuracy", label="", group_kind="")["value"].item() == 1
    assert '"pictures":["' in (crops / "out" / "report.html").read_text()


def test_crops_that_cannot_be_read_are_told_by_the_exit_code(crops, capfd):
    assert predict(crops) == 3
    assert "1 crops could not be read. Allow them: --max-failures 1" in capfd.readouterr().err


def test_what_is_missing_is_said(crops, capfd):
    assert run_command(["predict", "--classifier", str(crops / "colours.pt")]) == 2
    assert "--classifier needs --label-index FILE" in capfd.readouterr().err
    assert run_command(["predict", "--image-size", "64"]) == 2
    assert "--image-size: only together with --classifier" in capfd.readouterr().err
    (crops / "label_index.json").write_text("{}")
    assert predict(crops) == 2
    assert "names no label" in capfd.readouterr().err


def test_label_lists_are_read_as_the_field_writes_them(tmp_path):
    for name, text in (
        ("a.json", '{"1": "elk", "0": "fox"}'),
        ("b.json", '["fox", "elk"]'),
        ("c.txt", "fox\n\nelk\n"),
    ):
        (tmp_path / name).write_text(text)
        assert ms_classification.read_label_index(tmp_path / name) == ["fox", "elk"]
    for text, words in (('{"1": "elk"}', "is not a label list"), ('["a", "a"]', "names 'a' twice"), ("3", "is not")):
        (tmp_path / "d.json").write_text(text)
        with pytest.raises(Exception, match=words):
            ms_classification.read_label_index(tmp_path / "d.json")
