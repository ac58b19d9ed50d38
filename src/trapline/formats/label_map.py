"""A label map file: source label -> label, or out. YAML (`source: label`) or CSV (source_label,label)."""

import json
from collections.abc import Mapping
from pathlib import Path

import polars as pl
import ruamel.yaml
from ruamel.yaml.error import YAMLError

from trapline.core.errors import InputError
from trapline.io import atomic

DROP = "drop"


def read(path: Path) -> dict[str, str | None]:
    """Source label -> label, or None for out (no label, or `drop`).

    Raises:
        InputError: It is missing, not YAML or CSV, or names a source label twice; lists every problem.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"label map {path} cannot be read: {error}.") from None
    pairs = _csv(path, text) if path.suffix.casefold() == ".csv" else _yaml(path, text)
    problems, names = [], {}
    for source, label in pairs:
        if not source.strip():
            problems.append(f"a blank source label, for {label!r}")
        elif source in names and names[source] != label:
            problems.append(f"{source!r} becomes both {names[source] or DROP!r} and {label or DROP!r}")
        names[source] = label
    if problems:
        raise InputError(f"label map {path} has {len(problems)} problem(s):", problems)
    return names


def _yaml(path: Path, text: str) -> list[tuple[str, str | None]]:
    try:
        content = ruamel.yaml.YAML(typ="safe").load(text)
    except (YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        raise InputError(f"label map {path} is not valid YAML{where}: {getattr(error, 'problem', error)}.") from None
    if content is None:
        return []
    if not isinstance(content, Mapping):
        raise InputError(f"label map {path} holds no `source label: label` lines.")
    bad = [str(source) for source, label in content.items() if not isinstance(label, str | int | float | None)]
    if bad:
        raise InputError(f"label map {path} gives {len(bad)} source labels a list or table (first: {bad[0]}).")
    return [(str(source), _label(label)) for source, label in content.items()]


def _csv(path: Path, text: str) -> list[tuple[str, str | None]]:
    try:
        table = pl.read_csv(text.encode(), infer_schema=False)
    except pl.exceptions.PolarsError as error:
        raise InputError(f"label map {path} is not a CSV table: {str(error).splitlines()[0]}.") from None
    if not {"source_label", "label"} <= set(table.columns):
        raise InputError(
            f"label map {path} lacks the columns source_label and label; it has {', '.join(table.columns)}."
        )
    return [(source or "", _label(label)) for source, label in table.select("source_label", "label").iter_rows()]


def _label(value: object) -> str | None:
    text = "" if value is None else str(value).strip()
    return None if text in ("", DROP) else text


def write(path: Path, names: Mapping[str, str | None], comments: Mapping[str, str]) -> None:
    """Write a YAML label map, every line with a comment that says why."""
    lines = [
        "# Label map: source label -> label; `drop` leaves it out. Use it with",
        "#   trapline dataset --label-map-file FILE",
    ]
    for source, label in names.items():
        lines.append(
            f"{_quoted(source)}: {_quoted(label or DROP)}" + (f"  # {comments[source]}" if source in comments else "")
        )
    atomic.replace_text(path, "\n".join(lines) + "\n")


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # JSON is YAML, and needs no list of words that YAML reads otherwise
