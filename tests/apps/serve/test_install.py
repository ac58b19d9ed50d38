"""A machine that serves and does nothing else: trapline without its dependencies, and the requirements it ships."""

import io
import os
import re
import shutil
import subprocess
import sys
import tomllib
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

import training
from trapline.apps import serve
from trapline.apps.serve.answering import open_artifact
from trapline.cli import run_command
from trapline.core.geometry import GivenBox
from trapline.learn import checkpoint

ROOT = Path(__file__).parents[3]
SHIPPED = Path(serve.__path__[0]) / "requirements.txt"
MOST_MB = 400
OFFLINE = re.compile(  # what uv and pip say where no index answers
    r"failed to fetch|error sending request|could not connect|connection (error|refused|reset|broken)|dns error"
    r"|name resolution|timed out|retries exceeded|request failed|network (is )?unreachable|from versions: none",
    re.IGNORECASE,
)
BOXES = [[0.1, 0.05, 0.6, 0.85], [0.5, 0.4, 0.05, 0.11], [0.0, 0.3, 0.31, 0.07]]
FIND = "import trapline.apps.serve as s; print(s.__path__[0] + '/requirements.txt')"  # as docs/serve.md has it


def test_it_names_what_the_package_does_with_the_same_floors():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    known = {*project["dependencies"], *project["optional-dependencies"]["onnx"]}
    named = [line for line in SHIPPED.read_text().splitlines() if not line.startswith("#")]
    assert "onnxruntime>=1.20" in named
    assert set(named) <= known
    assert named == sorted(named)


@pytest.mark.parametrize("where", ["serve.md", "serving/Dockerfile"])
def test_the_documentation_finds_it(where):
    assert f'"$(python -c "{FIND}")"' in (ROOT / "docs" / where).read_text()


def call(*command: object) -> str:
    # Not what pytest's own environment adds: modules and settings would come from here.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(
        [str(word) for word in command], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise AssertionError(f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A fresh environment, made as docs/serve.md says; its bin folder."""
    folder = tmp_path_factory.mktemp("venv")
    python = folder / "bin/python"
    if uv := shutil.which("uv"):
        call(sys.executable, "-m", "venv", "--without-pip", folder)
        install = [uv, "pip", "install", "--quiet", "--python", python]
    else:
        call(sys.executable, "-m", "venv", folder)
        install = [python, "-m", "pip", "install", "--quiet"]
    try:
        call(*install, "--no-deps", ".")
        call(*install, "-r", call(python, "-c", FIND).strip())
    except AssertionError as error:
        if not OFFLINE.search(str(error)):
            raise
        pytest.skip(f"THE SERVING INSTALL IS NOT CHECKED: no package index can be reached ({str(error)[-200:]})")
    return folder / "bin"


@pytest.fixture(scope="module")
def model(tmp_path_factory, one_core) -> Path:
    """An exported classifier whose crops are reduced, by libvips."""
    folder = tmp_path_factory.mktemp("run")
    training.run(folder, *training.draw(folder / "crops"))
    path = folder / "run/checkpoints/best.pt"
    training.soften(path, 0.3)
    known = checkpoint.load(path)
    checkpoint.save(path, replace(known, trained={**known.trained, "crops": {"style": "square", "max_size": 96}}))
    assert run_command(["export", "--run", str(path), "--to", "onnx", "-o", str(folder / "out")]) == 0
    return folder / "out/model.onnx"


def photograph() -> bytes:
    coarse = np.random.default_rng(0).integers(0, 255, (18, 24, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(coarse).resize((960, 720)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


@contextmanager
def served(command: list[str]):
    """The address of a server that runs for the length of a `with`."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    said = []
    try:
        for line in process.stdout:
            said.append(line)
            if found := re.search(r"http://[0-9.:]+", "".join(said)):
                yield found[0]
                break
        else:
            raise AssertionError("".join(said))
    finally:
        process.terminate()
        process.communicate()
    assert process.returncode == 0


@pytest.mark.slow
def test_it_is_small_and_answers_as_the_library_does(installed, model):
    size = sum(path.lstat().st_size for path in installed.parent.rglob("*") if path.is_file())
    assert size < MOST_MB * 1e6
    there = call(installed / "python", "-c", "import importlib.util as u; print(u.find_spec('torch'))")
    assert there.strip() == "None"
    data = photograph()
    boxes = [GivenBox(*box, unit="fraction", frame="displayed") for box in BOXES]
    library = open_artifact(model)
    expected = [
        library.answer(scores) for scores in library.scores([(data, boxes)])[0] if isinstance(scores, np.ndarray)
    ]
    with served([str(installed / "trapline"), "serve", "--model", str(model), "--port", "0"]) as address:
        form = {"bbox": [str(box) for box in BOXES]}
        answer = httpx.post(f"{address}/predict", files={"image": ("a.jpg", data)}, data=form, timeout=60)
        assert httpx.get(f"{address}/metrics", timeout=60).status_code == 200
        assert "<title>" in httpx.get(address, timeout=60).text
    assert answer.status_code == 200, answer.text
    found = [box["scores"] for box in answer.json()["boxes"]]
    assert len(found) == len(expected) == len(BOXES)
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, abs=1e-6)
