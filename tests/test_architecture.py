"""The house's shape: layers, lazy names, a light command line."""

import subprocess
import sys
from pathlib import Path

import pytest

import trapline
from trapline.core.config import ProjectConfig, Section
from trapline.core.versions import STAGES, VERSIONS
from trapline.steps import STEPS

ROOT = Path(__file__).parents[1]


def test_imports_run_downward_only():
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()"]
    result = subprocess.run([*command, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_help_loads_nothing_heavy():
    code = (
        "import sys; from trapline.cli import run_command; run_command(['--help']);"
        "heavy = {'torch', 'ray', 'polars', 'numpy', 'pydantic', 'trapline.commands'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert all(command in result.stdout for command in ("demo", "init", "run", "status", *STAGES))


def test_light_commands_never_load_torch():
    code = "import sys; from trapline.commands import projects, stages, tools; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", sorted(trapline._PUBLIC))
def test_every_lazy_name_resolves(name):
    assert getattr(trapline, name).__doc__


def test_every_command_resolves():
    from trapline.cli import HELP, app

    for name in HELP:
        if name != "estimate":
            assert app[name].default_command is not None
    for name in ("fetch", "train", "run"):
        assert app["estimate"][name].default_command is not None


def test_every_stage_has_a_step_a_version_and_a_section():
    assert tuple(STEPS) == STAGES == tuple(VERSIONS)
    assert set(STAGES) <= set(ProjectConfig.model_fields)


def test_every_option_is_explained():
    for stage in STAGES:
        section = ProjectConfig.model_fields[stage].annotation
        assert isinstance(section, type)
        assert issubclass(section, Section)
        for name, field in section.model_fields.items():
            assert field.description, f"{stage}.{name} has no docstring"
