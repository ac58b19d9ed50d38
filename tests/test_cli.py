"""The command line as a person meets it: exit codes, messages, no traceback."""

import signal
import subprocess
import sys
import time

import pytest

from projects import draw_small, write_project
from trapline.cli import run_command


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return draw_small(tmp_path_factory.mktemp("drawn"))


def say(capsys, *arguments):
    """Run a command line here; return (exit code, everything it printed)."""
    code = run_command([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert "Traceback" not in captured.out + captured.err
    return code, captured.out + captured.err


def test_init_run_status(tmp_path, drawn, capsys):
    root = tmp_path / "islands"
    code, text = say(capsys, "init", root, "--annotations", drawn.annotations, "--images", drawn.images)
    assert code == 0
    assert f"wrote {root / 'trapline.yaml'}" in text
    assert (root / "annotations" / drawn.annotations.name).read_bytes() == drawn.annotations.read_bytes()
    code, text = say(capsys, "run", "--until", "split", "--project", root)
    assert code == 3
    assert f"{len(drawn.broken)} images failed and max_failures is 0" in text
    assert "are in fetch_failures.csv" in text
    assert "--retry-failed" not in text  # a folder is looked at again by itself
    code, text = say(capsys, "run", "--until", "split", "-p", root, "--max-failures", len(drawn.broken))
    assert code == 0
    assert text.count("up to date") == 5
    code, text = say(capsys, "status", "-p", root)
    assert code == 0
    assert "not made" in text


def test_every_balance_is_printed(tmp_path, drawn, capsys):
    root = write_project(tmp_path / "p", drawn)
    _, text = say(capsys, "dataset", "-p", root)
    assert f"{drawn.n_images} images listed -> {drawn.n_images} images" in text
    assert f"-> {drawn.n_boxes} boxes; left out {drawn.n_empty} meaning no animal" in text
    assert "whose crop failed" in text


def test_init_refuses_without_writing(tmp_path, drawn, capsys):
    root = tmp_path / "p"
    code, text = say(capsys, "init", root, "--annotations", tmp_path / "nowhere.json", "--images", drawn.images)
    assert (code, "does not exist" in text) == (2, True)
    (tmp_path / "not.json").write_text("{")
    code, text = say(capsys, "init", root, "--annotations", tmp_path / "not.json", "--images", drawn.images)
    assert (code, "is not valid JSON" in text) == (2, True)
    code, text = say(capsys, "init", root, "--annotations", drawn.annotations, "--images", drawn.images.parent)
    assert code == 2
    assert f"They seem to lie in {drawn.images}" in text
    assert not root.exists()


def test_init_adds_a_dataset_but_overwrites_none(tmp_path, drawn, capsys):
    root = tmp_path / "p"
    arguments = ("init", root, "--annotations", drawn.annotations, "--images", drawn.images)
    assert say(capsys, *arguments, "--dataset", "north")[0] == 0
    assert say(capsys, *arguments, "--dataset", "south")[0] == 0
    text = (root / "trapline.yaml").read_text()
    assert "north" in text
    assert "south" in text
    assert "# Square crops of every box." in text
    code, message = say(capsys, *arguments, "--dataset", "north")
    assert (code, "has a dataset north" in message.replace("a project with ", "has ")) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["spilt"], 'Did you mean "split"'),
        (["split", "--val-fra", "0.1"], "--val-frac"),
        (["split", "--val-frac", "3"], "--val-frac: input should be less than 1 (got '3')"),
        (["split", "--seed", "x"], "--seed"),
        (["split", "--val-frac", "0.6", "--test-frac", "0.6"], "leave nothing for train"),
        (["run", "--until", "spilt"], "there is no stage 'spilt'"),
    ],
)
def test_usage_errors_end_with_2(tmp_path, drawn, capsys, arguments, expected):
    root = write_project(tmp_path / "p", drawn)
    code, text = say(capsys, *arguments, *(["--project", root] if arguments != ["spilt"] else []))
    assert code == 2
    assert expected in text
    assert "pydantic" not in text


def test_no_project_here(tmp_path, capsys):
    code, text = say(capsys, "run", "--project", tmp_path)
    assert code == 2
    assert "no trapline project here" in text
    assert "trapline init" in text


def test_a_typo_in_the_yaml_names_the_nearest_field(tmp_path, drawn, capsys):
    root = write_project(tmp_path / "p", drawn)
    path = root / "trapline.yaml"
    path.write_text(path.read_text().replace("val_frac:", "val_fraction:").replace("quality: 92", "quality: 920"))
    code, text = say(capsys, "status", "-p", root)
    assert code == 2
    assert "has 2 problems" in text
    assert "split.val_fraction: no such field; did you mean val_frac?" in text
    assert "crop.quality: input should be less than or equal to 100 (got 920)" in text


def test_an_unknown_model_names_its_neighbours(tmp_path, drawn, capsys):
    root = write_project(tmp_path / "p", drawn)
    code, text = say(capsys, "train", "--model", "eficientnet_b0", "-p", root)
    assert code == 2
    assert "efficientnet_b0" in text.replace("eficientnet_b0", "")


def test_interrupt_ends_with_130(tmp_path, drawn):
    root = write_project(tmp_path / "p", drawn)
    process = subprocess.Popen(
        [sys.executable, "-m", "trapline", "run", "-p", str(root)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 60
    while not (root / "tables" / "crop").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"interrupted. Finished work is kept" in errors
    assert b"Traceback" not in errors


def test_version(capsys):
    code, text = say(capsys, "--version")
    assert code == 0
    assert text.strip().count(".") == 2
