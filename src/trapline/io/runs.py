"""Run folders: runs/<number>-<model>, each made from one fingerprint of configuration and inputs."""

import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

from trapline.core.errors import InputError
from trapline.io import atomic

MADE_FROM = "made_from.json"


def find_or_begin_run(runs: Path, model: str, fingerprint: str, inputs: Mapping[str, str]) -> Path:
    """The folder of the run made from `fingerprint`, finished or not; a new one with the next number if none is.

    Args:
        inputs: Fingerprints of the tables it is trained on, kept beside it.
    """
    found = find_run(runs, fingerprint)
    if found is not None:
        return found
    numbers = [int(match[1]) for path in runs.glob("*") if (match := re.match(r"(\d+)-", path.name))]
    folder = runs / f"{max(numbers, default=0) + 1:03d}-{re.sub(r'[^A-Za-z0-9._-]', '_', model)}"
    content = msgspec.json.encode({"fingerprint": fingerprint, "inputs": dict(inputs)})
    atomic.replace(folder / MADE_FROM, lambda stream: stream.write(content))
    return folder


def find_run(runs: Path, fingerprint: str) -> Path | None:
    """The newest run folder made from `fingerprint`, or None."""
    for path in sorted(runs.glob(f"*/{MADE_FROM}"), reverse=True):
        try:
            if msgspec.json.decode(path.read_bytes()).get("fingerprint") == fingerprint:
                return path.parent
        except (OSError, msgspec.DecodeError, AttributeError):
            continue
    return None


def named_run(name: str, runs: Path) -> Path:
    """The folder of a run: of a project by its name, or any.

    Args:
        runs: The project's folder of runs.

    Raises:
        InputError: There is none; names those there are.
    """
    for folder in (runs / name, Path(name)):
        if folder.is_dir():
            return folder
    there = sorted(path.parent.name for path in runs.glob("*/params.json"))
    raise InputError(f"there is no run {name}. Runs of this project: {', '.join(there) or 'none'}.")


def made_from(run: Path) -> dict[str, str]:
    """Fingerprints of the tables a run was trained on; empty where they are not known."""
    try:
        return msgspec.json.decode((run / MADE_FROM).read_bytes()).get("inputs", {})
    except (OSError, msgspec.DecodeError, AttributeError):
        return {}


def options_of(params: Path) -> dict[str, object]:
    """The training options that a run's params.json names; the device is left to the machine at hand.

    Raises:
        InputError: There is no such file, or it is not a params.json.
    """
    try:
        config = msgspec.json.decode(params.read_bytes())["config"]
    except OSError as error:
        raise InputError(f"{params} cannot be read ({error.strerror}). It lies in a run's folder.") from None
    except (msgspec.DecodeError, KeyError, TypeError):
        config = None
    if not isinstance(config, dict):
        raise InputError(f"{params} is no params.json of a training: it lacks the options under `config`.")
    return {name: value for name, value in config.items() if name != "device"}


def is_multilabel(params: Mapping[str, object]) -> bool:
    """Whether a run's params.json says that crops may have several labels."""
    config = params.get("config")
    return isinstance(config, dict) and bool(config.get("multilabel"))


def read_json(path: Path) -> dict[str, object]:
    """A JSON object; empty where the file is missing or damaged."""
    try:
        found = msgspec.json.decode(path.read_bytes())
    except (OSError, msgspec.DecodeError):
        return {}
    return found if isinstance(found, dict) else {}


def read_lines(path: Path) -> list[dict[str, object]]:
    """One JSON object per line, as of metrics.jsonl; damaged lines (a kill tore the last one) are skipped."""
    found = []
    for line in path.read_bytes().splitlines() if path.exists() else []:
        try:
            row = msgspec.json.decode(line)
        except msgspec.DecodeError:
            continue
        if isinstance(row, dict):
            found.append(row)
    return found
