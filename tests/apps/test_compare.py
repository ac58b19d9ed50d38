from typing import Any

import numpy as np
import polars as pl
import pytest

from trapline.apps.compare import compare
from trapline.cli import run_command
from trapline.core import schemas
from trapline.core.errors import InputError
from trapline.core.log import Log

LABELS = np.array(["bobcat", "coyote", "deer"])


def write_run(root, name, skill, *, groups=12, split="test", seed=0, crops=None):
    """An evaluated run's folder with the one table that compare reads."""
    rng = np.random.default_rng(5)
    truth, group = rng.integers(0, 3, groups * 20), np.repeat(np.arange(groups), 20)
    right = np.random.default_rng(seed).random(len(truth)) < skill
    frame = pl.DataFrame(
        {
            "crop_id": [f"d/{g}/{n}.jpg___crop00.jpg" for n, g in enumerate(group)],
            "split": split,
            "group_id": [f"place {g:02d}" for g in group],
            "label": LABELS[truth],
            "predicted": LABELS[np.where(right, truth, (truth + 1) % 3)],
            "true_score": np.where(right, 0.9, 0.2),
        }
    )
    blank = {column: pl.lit(None, kind) for column, kind in schemas.SCORED.columns.items() if column not in frame}
    folder = root / "runs" / name
    folder.mkdir(parents=True)
    (folder / "params.json").write_text("{}")
    frame = frame.with_columns(**blank).select(list(schemas.SCORED.columns))
    frame.head(crops or frame.height).write_parquet(folder / "scored.parquet")
    return folder


def test_the_better_run_is_named_with_its_interval(tmp_path):
    write_run(tmp_path, "001-a", 0.6)
    write_run(tmp_path, "002-b", 0.9, seed=1)
    log = Log()
    found: dict[str, Any] = {row.name: row for row in compare("001-a", "002-b", root=tmp_path, log=log)}
    assert 0.2 < found["macro_recall"].low < found["macro_recall"].value < found["macro_recall"].high < 0.5
    assert found["log_loss"].high < 0
    assert "At 12 locations that neither had seen (240 crops), 002-b named" in log.notes[0]
    assert "002-b is better than 001-a by" in log.notes[0]
    back: dict[str, Any] = {row.name: row for row in compare("002-b", "001-a", root=tmp_path)}
    assert back["macro_recall"].value == pytest.approx(-found["macro_recall"].value)


def test_only_crops_that_neither_had_seen_are_compared(tmp_path):
    write_run(tmp_path, "001-a", 0.6)
    folder = write_run(tmp_path, "002-b", 0.9, seed=1, crops=230)
    frame = pl.read_parquet(folder / "scored.parquet")
    changed = pl.col("group_id") == "place 00"
    frame = frame.with_columns(
        split=pl.when(changed).then(pl.lit("train")).otherwise("split"),
        label=pl.when(pl.col("crop_id") == frame["crop_id"][25]).then(pl.lit("lynx")).otherwise("label"),
    )
    frame.write_parquet(folder / "scored.parquet")
    log = Log()
    compare("001-a", str(folder), root=tmp_path, log=log)
    assert str(log.accounts[0]) == (
        "240 test crops of 001-a -> 209 compared; left out 10 not scored by 002-b, 20 not of test for 002-b, "
        "1 with another label for 002-b"
    )


def test_few_locations_give_no_interval_and_say_so(tmp_path):
    write_run(tmp_path, "001-a", 0.6, groups=5)
    write_run(tmp_path, "002-b", 0.9, groups=5, seed=1)
    log = Log()
    assert compare("001-a", "002-b", root=tmp_path, log=log)[0].low is None
    assert "whether that is more than chance cannot be said: fewer than 10 locations" in log.notes[0]


def test_what_cannot_be_compared_is_refused_with_what_to_do(tmp_path):
    write_run(tmp_path, "001-a", 0.6)
    write_run(tmp_path, "002-b", 0.9, split="train")
    with pytest.raises(InputError, match=r"have no test crop in common.*--match-test"):
        compare("001-a", "002-b", root=tmp_path)
    with pytest.raises(InputError, match=r"there is no run 9\. Runs of this project: 001-a, 002-b\."):
        compare("001-a", "9", root=tmp_path)
    (tmp_path / "runs" / "002-b" / "scored.parquet").unlink()
    with pytest.raises(InputError, match="run 002-b is not evaluated yet: trapline predict --run 002-b"):
        compare("001-a", "002-b", root=tmp_path)


def test_the_command_prints_the_sentence_and_the_figures(tmp_path, capsys):
    write_run(tmp_path, "001-a", 0.6)
    write_run(tmp_path, "002-b", 0.9, seed=1)
    assert run_command(["compare", "001-a", "002-b", "--project", str(tmp_path)]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "002-b is better than 001-a by" in printed
    assert "macro recall" in printed
    assert run_command(["compare", "001-a", "x", "--project", str(tmp_path)]) == 2
