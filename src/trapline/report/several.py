"""report.html of a run whose crops may have several labels: how good each label is told, where. Names stay text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import polars as pl

from trapline.core.judged import LeftOut
from trapline.io.places import Place
from trapline.report import figures, gallery, wording
from trapline.report.html import environment
from trapline.report.origin import provenance
from trapline.report.page import SPLIT_ORDER
from trapline.report.wording import Cell, Figures, count


@dataclass(frozen=True)
class Material:
    """What the page is made of.

    Args:
        run, params, done, labels, fingerprint, made_at, versions, machine, code: As of page.Material.
        epochs: The lines of metrics.jsonl.
        metrics: METRICS rows of this run.
        mistakes: Crops of which a label is said wrong, the surest first: crop_id, label, predicted, location, score.
        left_out: Crops without figures, by reason.
        crops_dir: Where the crops lie.
    """

    run: str
    params: Mapping[str, object]
    done: Mapping[str, object]
    labels: Sequence[str]
    fingerprint: str
    made_at: str
    versions: Mapping[str, str]
    machine: str
    code: str
    epochs: Sequence[Mapping[str, object]]
    metrics: pl.DataFrame
    mistakes: pl.DataFrame
    left_out: Sequence[LeftOut]
    crops_dir: Path | Place


def render(material: Material) -> str:
    """The page as HTML."""
    found = Figures(material.metrics)
    split = wording.judged_split(found)
    names = [name for name in SPLIT_ORDER if found.count(name, "crops")]
    return environment().get_template("several.html.j2").render(
        run=material.run,
        split=split,
        headline=_headline(found, split),
        standings=[(wording.SPLIT_WORDS[name], name == split, _standing(found, name)) for name in names],
        label_rows=[_label(found, split, label) for label in material.labels] if split else [],
        percent=wording.percent,
        charts=figures.learning_curves(material.epochs, material.done.get("best_epoch")),
        chart=figures,
        mistakes=gallery.show(material.mistakes, material.crops_dir),
        left_out=material.left_out,
        provenance=provenance(material),
        configuration=msgspec.json.format(msgspec.json.encode(material.params.get("config", {})), indent=2).decode(),
    )  # fmt: skip


def _headline(found: Figures, split: str | None) -> str:
    if split is None:
        return "No crop could be scored, so nothing is known about this classifier."
    if split not in wording.HELD_OUT:
        return "No crop of a held-out location could be scored, so it is not known how the classifier does elsewhere."
    cell, chance = found(split, "macro_average_precision"), found(split, "macro_chance_precision")
    sure = f"95% interval {cell.interval}" if cell.interval else cell.reason or "no interval"
    places = count(found.count(split, "groups"), "location")
    return (
        f"At the {places} {wording.HELD_OUT[split]}, the mean average precision over labels is {cell.text} ({sure}); "
        f"guessing would give {chance.text}."
    )


def _standing(found: Figures, split: str) -> dict[str, Cell | int]:
    cells = {
        name: found(split, name)
        for name in ("macro_average_precision", "macro_recall", "macro_precision", "macro_f1", "exact_match")
    }
    return {**cells, **{name: found.count(split, name) for name in ("crops", "groups", "labels")}}


def _label(found: Figures, split: str, label: str) -> dict[str, object]:
    cells = {name: found(split, name, label) for name in ("average_precision", "recall", "precision", "f1")}
    return {"label": label, "crops": cells["recall"].support, "locations": found.count(split, "groups", label), **cells}
