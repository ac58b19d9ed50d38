"""What the commands say before anyone trains: the learning curve, and the advice."""

import re

import pytest
from PIL import Image

from projects import QUICK, draw_small, write_project
from trapline.cli import run_command

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("advice")
    return write_project(folder / "p", draw_small(folder / "drawn"))


def test_the_learning_curve_is_told_and_drawn(root, capsys, tmp_path):
    picture = tmp_path / "curve.png"
    line = ["learning-curve", "--project", str(root), "--divisions", "2", "--plot", str(picture)]
    assert run_command(line) == 0
    said = capsys.readouterr().out
    assert re.search(r"a probe finds \d+% of each label's crops on average at places held out", said)
    points = r"[+-]\d+\.\d points \([+-]\d+\.\d to [+-]\d+\.\d\)"
    assert re.search(rf"twice the places would bring about {points}", said)
    assert re.search(rf"twice the images of each place, about {points}", said)
    with Image.open(picture) as image:
        assert image.width > 600


def test_a_picture_of_no_kind_is_refused_before_anything_is_computed(root, capsys, tmp_path):
    assert run_command(["learning-curve", "--project", str(root), "--plot", str(tmp_path / "curve.doc")]) == 2
    assert "curve.doc: a figure is written as .svg, .png, .pdf" in capsys.readouterr().err
    assert run_command(["learning-curve", "--project", str(root), "--divisions", "1"]) == 2
    assert "--divisions must be 2 or more" in capsys.readouterr().err


def test_advice_counts_times_and_names_the_command(root, capsys):
    assert run_command(["train", "--advise", "--project", str(root), "--model", QUICK.model, "--no-pretrained"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"[\d,]+ crops at \d+ places to learn from; the rarest label has \d+", said)
    assert re.search(r"here \(cpu, .*\): the probe takes about .*, fine-tuning .* per epoch, .* for 2 epochs", said)
    assert re.search(r"take: trapline train", said)
    assert not list((root / "runs").glob("0*"))  # nothing was trained
