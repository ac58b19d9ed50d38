"""The server keeps to its own description: schemathesis asks what that allows, and what it does not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from serving import Running, write_model

TOKEN = "a token of some length"
TESTS = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize("token", ["", TOKEN], ids=["open", "with a token"])
def test_schemathesis_finds_nothing(tmp_path, monkeypatch, token):
    """All its checks but one: no description can say which strings are pictures, and which four numbers a box."""
    monkeypatch.setenv("TRAPLINE_TOKEN", token)
    server = Running("--model", str(write_model(tmp_path / "model.onnx")))
    command = [
        sys.executable, "-m", "schemathesis.cli", "run", f"{server.url}/openapi.json", "--checks", "all",
        "--exclude-checks", "positive_data_acceptance", "--max-examples", "30", "--seed", "1", "--no-color",
        "--request-timeout", "60",
        *(["--header", f"Authorization: Bearer {token}"] if token else []),
    ]  # fmt: skip
    hooks = {"SCHEMATHESIS_HOOKS": "serving_formats", "PYTHONPATH": str(TESTS)}
    try:
        found = subprocess.run(
            command, cwd=tmp_path, env={**os.environ, **hooks}, capture_output=True, text=True, check=False
        )
        code, _, log = server.stop()
    finally:
        server.kill()
    assert found.returncode == 0, found.stdout + found.stderr
    assert code == 0
    answered = {(line["path"], line["status"]) for line in log}
    assert {("/predict", 200), ("/invocations", 200), ("/predictions", 200), ("/predict", 400)} <= answered
