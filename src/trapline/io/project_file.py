"""trapline.yaml in and out: read with every problem named, written with a comment per field, edited in place."""

import difflib
import json
import types
import typing
from collections.abc import Mapping
from pathlib import Path

import ruamel.yaml
from pydantic import BaseModel, ValidationError
from ruamel.yaml.error import YAMLError

from trapline.core.config import ProjectConfig, Section
from trapline.core.errors import InputError
from trapline.io import atomic

HEADER = """\
# trapline.yaml: the whole configuration of this project. Every value here is also an option of its stage's command
# (`trapline split --seed 1` overrides `split: seed` for that call; add --save to write it here).
# Change a value and run `trapline run`: what depends on it is made again, and nothing else.
"""


def read(path: Path) -> ProjectConfig:
    """Read a project's configuration.

    Raises:
        InputError: It is missing, not YAML, or breaks the types; lists every problem, with the nearest field's name.
    """
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        raise InputError(
            f"no trapline project here: {path} does not exist. Make one with `trapline init DIR --annotations FILE "
            "--images DIR`, or name its folder with --project."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    try:
        content = ruamel.yaml.YAML(typ="safe").load(text)
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        raise InputError(f"{path} is not valid YAML{where}: {getattr(error, 'problem', error)}") from None
    except (ValueError, RecursionError) as error:  # such as a date with a thirteenth month
        raise InputError(f"{path} holds a value that YAML cannot read: {error}. Put it in quotes.") from None
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no settings. It needs at least `datasets:`; `trapline init` writes one.")
    return validate(content, str(path))


def validate(content: Mapping[str, object], source: str) -> ProjectConfig:
    """Check settings against the types; `source` is named in the error, which lists every problem."""
    try:
        return ProjectConfig.model_validate(content)
    except ValidationError as error:
        found = problems(error, ProjectConfig)
        raise InputError(f"{source} has {len(found)} problem{'s' * (len(found) > 1)}:", found) from None


def problems(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """One plain line per problem of a pydantic error; unknown fields get the nearest known ones."""
    lines = []
    for item in error.errors(include_url=False):
        place = [str(part) for part in item["loc"] if not str(part).startswith(("function-", "nullable"))]
        name = ".".join(place) or "settings"
        if item["type"] == "extra_forbidden":
            near = difflib.get_close_matches(place[-1], _fields(model, place[:-1]), 1, 0.5)
            lines.append(f"{name}: no such field" + (f"; did you mean {near[0]}?" if near else ""))
        elif item["type"] == "value_error":
            lines.append(item["msg"].removeprefix("Value error, "))
        else:
            given = "" if item["type"] == "missing" else f" (got {item['input']!r})"
            lines.append(f"{name}: {item['msg'][0].lower()}{item['msg'][1:]}{given}")
    return lines


def _fields(model: type[BaseModel], place: list[str]) -> list[str]:
    """Field names of the section at `place` of a config type."""
    current: object = model
    for part in place:
        if isinstance(current, type) and issubclass(current, BaseModel):
            current = current.model_fields[part].annotation if part in current.model_fields else None
        else:  # a mapping: its values' type
            current = (typing.get_args(current) or (None,))[-1]
    return list(current.model_fields) if isinstance(current, type) and issubclass(current, BaseModel) else []


def write_new(path: Path, config: ProjectConfig) -> None:
    """Write a configuration with a comment above every field."""
    lines = [HEADER]
    for name, field in ProjectConfig.model_fields.items():
        value = getattr(config, name)
        if isinstance(value, Section):
            if not type(value).model_fields:
                continue
            lines.append(f"\n# {(type(value).__doc__ or '').strip().splitlines()[0]}\n{name}:")
            for key, sub in type(value).model_fields.items():
                lines += [f"  # {line}" for line in _comment(sub)]
                lines.append(f"  {key}: {_scalar(getattr(value, key))}")
        else:
            lines.append("")
            lines += [f"# {line}" for line in _comment(field)]
            if name == "datasets":
                lines.append("datasets:")
                for dataset, source in config.datasets.items():
                    lines.append(f"  {_scalar(dataset)}:")
                    told = {"annotations": source.annotations, "images": source.images}
                    told |= source.model_dump(exclude=set(told), exclude_defaults=True)
                    lines += [f"    {key}: {_scalar(value)}" for key, value in told.items()]
            else:
                lines.append(f"{name}: {_scalar(value)}")
    atomic.replace_text(path, "\n".join(lines) + "\n")


def set_values(path: Path, section: str, values: Mapping[str, object]) -> None:
    """Write options into one section, keeping the file's comments and order."""
    yaml = ruamel.yaml.YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    content = yaml.load(path.read_text("utf-8"))
    if content.get(section) is None:
        content[section] = {}
    part = content[section]
    for key, value in values.items():
        part[key] = list(value) if isinstance(value, tuple) else value
    atomic.replace(path, lambda stream: yaml.dump(content, stream))


def _comment(field: object) -> list[str]:
    text = getattr(field, "description", None) or ""
    choices = _choices(getattr(field, "annotation", None))
    return (text + (f" One of: {', '.join(choices)}." if len(choices) > 1 and ":" not in text else "")).splitlines()


def _choices(annotation: object) -> list[str]:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [name for part in typing.get_args(annotation) for name in _choices(part)]
    is_literal = typing.get_origin(annotation) is typing.Literal
    return [str(value) for value in typing.get_args(annotation)] if is_literal else []


def _scalar(value: object) -> str:
    """A value as YAML on one line (JSON is YAML, and quotes every string that needs it)."""
    if isinstance(value, str) and value.replace("_", "").replace("-", "").isalnum() and value[0].isalpha():
        return value if value.casefold() not in ("true", "false", "null", "yes", "no", "on", "off") else f'"{value}"'
    text = json.dumps(value, ensure_ascii=False)
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def _escape(char: str) -> str:
    """A character that YAML forbids, or takes for a line's end, in the escape that it shares with JSON and beyond."""
    return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"
