import os
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

from trapline.io import provenance

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def git(folder, *arguments):
    who = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, env={**os.environ, **who}, capture_output=True, text=True, check=True).stdout.strip()


def test_the_machine_is_told_without_its_name():
    told = provenance.machine()
    assert f"{os.cpu_count()} CPU core" in told
    assert os.uname().nodename not in told
    assert str(Path.home()) not in told


@needs_git
def test_the_commit_of_a_checkout_and_whether_it_was_changed(tmp_path, monkeypatch):
    git(tmp_path, "init", "-q")
    (tmp_path / "__init__.py").write_text("")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "one")
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path)
    commit = git(tmp_path, "rev-parse", "HEAD")[:12]
    assert provenance.code() == f"{version('trapline')}, git {commit}"
    (tmp_path / "__init__.py").write_text("changed")
    assert provenance.code() == f"{version('trapline')}, git {commit} (changed)"


@needs_git
def test_a_package_installed_inside_another_repository_has_no_commit(tmp_path, monkeypatch):
    git(tmp_path, "init", "-q")
    installed = tmp_path / ".venv" / "trapline"
    installed.mkdir(parents=True)
    (installed / "__init__.py").write_text("")
    monkeypatch.setattr(provenance, "PACKAGE", installed)
    assert provenance.code() == version("trapline")


def test_without_git_there_is_the_version(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert provenance.code() == version("trapline")
