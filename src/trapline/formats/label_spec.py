"""The old chain's label specification: which source labels of which datasets, by name or by taxon, form a label.

JSON: {label: {dataset_labels: {dataset: [label, ...]}, taxa: [{level, name, datasets?}], exclude: {dataset_labels,
taxa}, max_count, prioritize: [[dataset, ...], ...]}}. CSV: header output_label,type,content, type one of `row` (content
dataset|label), `datasettaxon` (dataset|level|name), a taxonomic level (content a name), `max_count` (a number),
`prioritize` (a list of lists as Python writes it); an output_label that starts with `!` excludes (FORMATS.md).
"""

import ast
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import polars as pl

from trapline.core import label_rules
from trapline.core.errors import InputError
from trapline.core.label_rules import LabelRules
from trapline.formats import csv_table

CSV_COLUMNS = ("output_label", "type", "content")


class Taxon(msgspec.Struct, forbid_unknown_fields=True):
    """All source labels (of some datasets) that stand under a name at a taxonomic level."""

    level: str
    name: str
    datasets: list[str] | None = None


class Selection(msgspec.Struct, forbid_unknown_fields=True):
    """Source labels, by name and by taxon."""

    dataset_labels: dict[str, list[str]] = {}
    taxa: list[Taxon] = []


class Entry(Selection, forbid_unknown_fields=True):
    """One label of a specification."""

    exclude: Selection = msgspec.field(default_factory=Selection)
    max_count: int | None = None
    prioritize: list[list[str]] = []


@dataclass
class _Problems:
    """What is wrong with a specification, collected before anything is raised."""

    path: Path
    found: list[str] = field(default_factory=list)

    def check(self) -> None:
        if self.found:
            raise InputError(f"label specification {self.path} has {len(self.found)} problem(s):", self.found)


def read(path: Path, taxonomy: Path | None) -> LabelRules:
    """Rules of a specification.

    Args:
        taxonomy: CSV with columns dataset, dataset_label, then taxonomic levels; needed where taxa are selected.

    Raises:
        InputError: A file is missing or malformed, a selection finds nothing, or a source label is selected for two
            labels; lists every problem.
    """
    problems = _Problems(path)
    entries = _read_csv(path, problems) if path.suffix.casefold() == ".csv" else _read_json(path)
    problems.check()
    levels = _read_taxonomy(taxonomy) if taxonomy is not None else None
    chosen: dict[tuple[str, str], str] = {}
    for label, entry in entries.items():
        selected = _select(entry, levels, f"{label}", problems)
        selected -= _select(entry.exclude, levels, f"{label}, exclude", problems)
        if not selected:
            problems.found.append(f"{label}: selects no source label")
        for pair in sorted(selected):
            if pair in chosen:
                problems.found.append(f"{pair[1]} of {pair[0]} is selected for both {chosen[pair]} and {label}")
            chosen[pair] = label
    problems.check()
    rows = [(*pair, label, "selected by the label specification") for pair, label in sorted(chosen.items())]
    return LabelRules(
        pl.DataFrame(rows, schema=label_rules.SCHEMA, orient="row"),
        closed=True,
        max_count={label: entry.max_count for label, entry in entries.items() if entry.max_count is not None},
        prioritize={label: tuple(map(tuple, entry.prioritize)) for label, entry in entries.items() if entry.prioritize},
    )


def _select(selection: Selection, levels: pl.DataFrame | None, where: str, problems: _Problems) -> set[tuple[str, str]]:
    """The (dataset, source label) pairs of a selection."""
    pairs = {(dataset, name) for dataset, names in selection.dataset_labels.items() for name in names}
    for taxon in selection.taxa:
        if levels is None:
            problems.found.append(f"{where}: selects {taxon.level} {taxon.name}, which needs a --taxonomy")
            continue
        if taxon.level not in levels.columns[2:]:
            known = ", ".join(levels.columns[2:])
            problems.found.append(f"{where}: the taxonomy has no level {taxon.level!r}, only {known}")
            continue
        found = levels.filter(pl.col(taxon.level) == taxon.name.strip().casefold())
        if taxon.datasets is not None:
            found = found.filter(pl.col("dataset").is_in(taxon.datasets))
        if not found.height:
            problems.found.append(f"{where}: no label of the taxonomy is of {taxon.level} {taxon.name}")
        pairs |= set(found.select("dataset", "dataset_label").rows())
    return pairs


def _read_json(path: Path) -> dict[str, Entry]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Entry])
    except OSError as error:
        raise InputError(f"label specification {path} cannot be read: {error.strerror or error}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a label specification: {error}.") from None


def _read_csv(path: Path, problems: _Problems) -> dict[str, Entry]:
    table = csv_table.read(path, "label specification")
    missing = [name for name in CSV_COLUMNS if name not in table.columns]
    if missing:
        raise InputError(f"label specification {path} lacks the columns {', '.join(missing)}.")
    entries: dict[str, Entry] = {}
    for line, row in enumerate(table.select(CSV_COLUMNS).iter_rows(), start=2):
        name, kind, content = ((value or "").strip() for value in row)
        excluded = name.startswith("!")
        entry = entries.setdefault(name.removeprefix("!"), Entry())
        try:
            _add(entry, entry.exclude if excluded else entry, kind.casefold(), content)
        except (ValueError, SyntaxError) as error:
            problems.found.append(f"line {line}: {kind} {content!r} cannot be read: {error}")
    return entries


def _add(entry: Entry, selection: Selection, kind: str, content: str) -> None:
    """Add one line of a CSV specification to its entry."""
    parts = [part.strip() for part in content.split("|")]
    if kind in ("row", "datasettaxon") and len(parts) != (2 if kind == "row" else 3):
        raise ValueError("it needs " + ("dataset|label" if kind == "row" else "dataset|level|name"))
    if kind == "row":
        selection.dataset_labels.setdefault(parts[0], []).append(parts[1])
    elif kind == "datasettaxon":
        selection.taxa.append(Taxon(parts[1].casefold(), parts[2], [parts[0]]))
    elif kind == "max_count":
        entry.max_count = int(content)
    elif kind == "prioritize":
        entry.prioritize.extend(msgspec.convert(ast.literal_eval(content), list[list[str]]))
    else:
        selection.taxa.append(Taxon(kind, content))


def _read_taxonomy(path: Path) -> pl.DataFrame:
    """dataset, dataset_label as given, and the taxonomic levels in lower case."""
    table = csv_table.read(path, "taxonomy")
    if list(table.columns[:2]) != ["dataset", "dataset_label"] or len(table.columns) == 2:
        raise InputError(f"taxonomy {path} needs the columns dataset, dataset_label, then taxonomic levels.")
    table = table.rename({name: name.strip().casefold() for name in table.columns})
    return table.with_columns(pl.col(table.columns[2:]).str.strip_chars().str.to_lowercase())
