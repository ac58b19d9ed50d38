"""report.html: one self-contained page about one run, from tables. Everything from outside is escaped as text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
from markupsafe import Markup
from numpy.typing import NDArray

from trapline.core import schemas
from trapline.core.judged import LeftOut
from trapline.io.places import Place
from trapline.report import cells, confidence, figures, gallery, wording
from trapline.report.html import environment
from trapline.report.origin import provenance
from trapline.report.wording import Cell, Figures

SHOWN_LOCATIONS = 50
MARKED_OFF = 0.1  # a label's share of a split this far from the average is worth a look
FEW_LABELS = 40  # up to these, the matrix is read at a glance and few confusions are told in words
SPLIT_ORDER = ("test", "seen", "val", "train")


@dataclass(frozen=True)
class Material:
    """What the page is made of.

    Args:
        run: The run's name.
        params: The run's params.json; absent keys leave their part of the page out.
        epochs: The lines of metrics.jsonl.
        done: The run's done.json.
        labels: L names in the model's order.
        majority: The label most common in train.
        metrics: METRICS rows of this run.
        crops: SCORED rows: every scored crop.
        confusion: Per split, (L, L) counts, rows true.
        left_out: Crops without figures, by reason.
        fingerprint: Of the evaluated crops, labels, groups and splits.
        made_at: When the evaluation ran, for people.
        versions: Of the packages that evaluated.
        crops_dir: Where the crops lie.
        gallery: Examples shown right and wrong, each.
        shares: Per label its crops and their share in train, val and test (split_figure.shares).
        turns: Classifiers of a cross-validation, each scoring the places it had not seen; 0 for a single one.
        seed: Fixes which are shown.
        calibration: As in calibration.json (docs/evaluate.md).
        tables: reliability, thresholds and threshold_curves, by name (core.schemas).
        machine, code: What evaluated (io.provenance).
    """

    run: str
    params: Mapping[str, object]
    epochs: Sequence[Mapping[str, object]]
    done: Mapping[str, object]
    labels: Sequence[str]
    majority: str
    metrics: pl.DataFrame
    crops: pl.DataFrame
    confusion: Mapping[str, NDArray[np.integer]]
    left_out: Sequence[LeftOut]
    fingerprint: str
    made_at: str
    versions: Mapping[str, str]
    crops_dir: Path | Place
    gallery: int
    shares: pl.DataFrame
    turns: int
    seed: int
    calibration: Mapping[str, object] = field(default_factory=dict)
    tables: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    machine: str = ""
    code: str = ""


@dataclass(frozen=True)
class Standing:
    """One row of "how good": a split or a baseline, with its macro recall and accuracy."""

    name: str
    kind: str  # split | baseline
    recall: Cell
    accuracy: Cell
    crops: int | None = None
    locations: int | None = None
    labels: int | None = None
    note: str = ""


@dataclass(frozen=True)
class LabelRow:
    """One label's figures in the judged split."""

    label: str
    crops: int
    locations: int
    recall: Cell
    precision: Cell
    f1: Cell
    average_precision: Cell
    mistaken: figures.Pair | None


@dataclass(frozen=True)
class LocationRow:
    """One location's accuracy, and what went wrong there most often."""

    location: str
    accuracy: Cell
    labels: str
    mistake: str


def render(material: Material) -> str:
    """The page as HTML."""
    found = Figures(material.metrics)
    other = str(material.params.get("scores_of") or "")
    split = wording.judged_split(found)
    judged = material.crops.filter(pl.col("split") == (split or ""))
    confusion = material.confusion[split] if split else np.zeros((0, 0), np.int64)
    labels = list(material.labels)
    shown = figures.most_confused(confusion)
    occurring = len(figures.matrix_labels(confusion))
    locations = _locations(judged, found, split)
    behind = cells.cells(judged, labels, material.crops_dir, pictures=material.gallery > 0)
    return environment().get_template("report.html.j2").render(
        material=material,
        split=split,
        here=_here(split, other),
        headline=wording.headline(found, split, other),
        notes=[
            *wording.of_another(other),
            *wording.cross_validated(material.turns),
            *wording.keep_in_mind(found, split, labels, sum(row.crops for row in material.left_out), other),
        ],
        share_rows=[] if material.turns else _share_rows(material.shares),
        standings=_standings(material, found, split),
        overall=_overall(found, split),
        label_rows=_label_rows(found, split, labels, confusion),
        matrix=figures.matrix(confusion, labels, shown),
        matrix_labels=[labels[n] for n in shown],
        matrix_leaves_out=occurring - len(shown),
        shades=figures.shades(),
        cells=Markup(cells.as_script(behind)) if split else None,
        pairs=figures.confused_pairs(confusion, labels, 10 if occurring <= FEW_LABELS else figures.PAIRS),
        locations=locations[:SHOWN_LOCATIONS],
        more_locations=len(locations) - SHOWN_LOCATIONS,
        lights=found.groups(split, "light") if split else [],
        hours=found.groups(split, "hour") if split else [],
        levels=_levels(found, split),
        charts=figures.learning_curves(material.epochs, material.done.get("best_epoch")),
        epochs=material.epochs,
        wrong=gallery.show(gallery.choose_wrong(judged, material.gallery), material.crops_dir),
        right=gallery.show(gallery.choose_right(judged, material.gallery, material.seed), material.crops_dir),
        mistakes=judged.filter(pl.col("label") != pl.col("predicted")).height,
        provenance=provenance(material),
        configuration=msgspec.json.format(msgspec.json.encode(material.params.get("config", {})), indent=2).decode(),
        chart=figures,
        confidence=confidence,
        percent=wording.percent,
        count=wording.count,
        **_sureness(material, found, split),
    )  # fmt: skip


def _here(split: str | None, other: str) -> str:
    """Where the judged crops are, as part of a sentence."""
    if other:
        return f"the {split} locations"
    words = {
        "test": "the held-out test locations",
        "val": "the validation locations",
        "seen": "locations seen in training",
        "train": "the training crops",
    }
    return words.get(split or "", "")


def _sureness(material: Material, found: Figures, split: str | None) -> dict[str, object]:
    """What the page says of probabilities and thresholds; empty parts where there is nothing to say."""
    tables, labels = material.tables, list(material.labels)
    if split is None or not tables:
        return {"diagrams": [], "thresholds": [], "savings": "", "curves": None, "fitted": ""}
    errors = {
        scores: (found(split, name).value, found(split, f"{name}_floor").value)
        for scores, name in (("raw", "ece"), ("calibrated", "ece_calibrated"))
    }
    rows = confidence.threshold_rows(tables["thresholds"], split)
    wished = tables["thresholds"]["wished"]
    curves = confidence.curves(tables["threshold_curves"], split)
    return {
        "diagrams": confidence.diagrams(tables["reliability"], split, errors),
        "thresholds": rows,
        "savings": confidence.savings(rows, wished[0], labels) if len(wished) else "",
        "wished": wished[0] if len(wished) else None,
        "curves": curves,
        "curves_script": Markup(cells.as_script(curves)) if curves else None,
        "fitted": wording.fitted(material.calibration),
    }


def _levels(found: Figures, split: str | None) -> list[tuple[str, Cell, Cell]]:
    """Taxonomic levels with their macro recall and accuracy, where a taxonomy was given."""
    if split is None:
        return []
    return [
        (level, found(split, "macro_recall", "", "level", level), accuracy)
        for level, accuracy in found.groups(split, "level")
    ]


def _standings(material: Material, found: Figures, split: str | None) -> list[Standing]:
    """Held-out beside seen, and both beside what needs no training or no learning."""
    rows = [
        Standing(
            (wording.OF_OTHERS if material.params.get("scores_of") else wording.SPLIT_WORDS)[name],
            "judged" if name == split else "split",
            found(name, "macro_recall"),
            found(name, "accuracy"),
            found.count(name, "crops"),
            found.count(name, "groups"),
            found.count(name, "labels"),
        )
        for name in SPLIT_ORDER
        if name == "test" or found.count(name, "crops")
    ]
    if split and found(split, "macro_recall", "", "unit", "sequence").value is not None:
        whole = [found(split, name, "", "unit", "sequence") for name in ("macro_recall", "accuracy", "sequences")]
        name = f"Whole sequences of {split}, their crops taken together"
        rows.append(Standing(name, "split", *whole[:2], note="sequences", crops=int(whole[2].value or 0)))
    probe = next((row.get("val_macro_recall") for row in material.epochs if row.get("epoch") == 0), None)
    if isinstance(probe, int | float):
        accuracy = next((row.get("val_accuracy") for row in material.epochs if row.get("epoch") == 0), None)
        known = Cell(float(accuracy)) if isinstance(accuracy, int | float) else Cell()
        name = "A linear classifier on the pretrained model, not fine-tuned (val)"
        rows.append(Standing(name, "baseline", Cell(float(probe)), known))
    if split:
        majority = found(split, "majority_macro_recall"), found(split, "majority_accuracy")
        rows.append(Standing(f"Always saying “{material.majority}”", "baseline", *majority))
        chance = found(split, "chance_macro_recall"), found(split, "chance_accuracy")
        rows.append(Standing("Guessing", "baseline", *chance))
    return rows


def _overall(found: Figures, split: str | None) -> list[tuple[str, Cell, bool]]:
    """The judged split's other figures: name, cell, and whether it is a share."""
    if split is None:
        return []
    names = (
        ("Macro recall", "macro_recall"),
        ("Accuracy over all crops", "accuracy"),
        ("Macro top-3 recall", "macro_top3_recall"),
        ("Top-3 accuracy", "top3_accuracy"),
        ("Macro F1", "macro_f1"),
        ("Mean average precision", "macro_average_precision"),
    )
    shares = [(words, found(split, name), True) for words, name in names if found(split, name) != Cell()]
    return [*shares, ("Log loss", found(split, "log_loss"), False)]


def _label_rows(
    found: Figures, split: str | None, labels: Sequence[str], confusion: NDArray[np.integer]
) -> list[LabelRow]:
    if split is None:
        return []
    mistaken = figures.mistaken_for(confusion, labels)
    return [
        LabelRow(
            label,
            found(split, "recall", label).support,
            found.count(split, "groups", label),
            found(split, "recall", label),
            found(split, "precision", label),
            found(split, "f1", label),
            found(split, "average_precision", label),
            pair,
        )
        for label, pair in zip(labels, mistaken, strict=True)
    ]


def _locations(judged: pl.DataFrame, found: Figures, split: str | None) -> list[LocationRow]:
    """Every location of the judged split, worst first."""
    if split is None:
        return []
    labels = {location: (labels, total) for location, labels, total in _most(judged, ["label"]).rows()}
    wrong = judged.filter(pl.col("label") != pl.col("predicted"))
    mistakes = {row[0]: row[1:] for row in _most(wrong, ["label", "predicted"]).rows()}
    rows = []
    for location, cell in found.groups(split, "location"):
        label, crops = labels[location]
        mostly = f"{label} ({crops:,})"
        pair = mistakes.get(location)
        rows.append(LocationRow(location, cell, mostly, f"{pair[2]:,} {pair[0]} named {pair[1]}" if pair else ""))
    return sorted(rows, key=lambda row: (row.accuracy.value or 0.0, -row.accuracy.support, row.location))


def _most(crops: pl.DataFrame, by: list[str]) -> pl.DataFrame:
    """The most frequent value of `by` at every location: location, *by, crops."""
    counted = crops.group_by("location", *by).len().sort("len", *by, descending=[True, *[False] * len(by)])
    return counted.group_by("location", maintain_order=True).first()


def _share_rows(shares: pl.DataFrame) -> list[dict[str, object]]:
    """Rows of the split table: each label's share per split; the labels furthest from all crops' shares are marked."""
    names = list(schemas.SPLIT_NAMES)
    crops = shares["crops"].to_numpy()
    whole = {name: float(shares[name].to_numpy() @ crops) / max(int(crops.sum()), 1) for name in names}
    off = shares.select("label", off=pl.max_horizontal((pl.col(name) - whole[name]).abs() for name in names))
    far = off.filter(pl.col("off") >= MARKED_OFF).sort("off", "label", descending=[True, False])
    marked = set(far["label"].head(3))
    rows: list[dict[str, object]] = []
    for row in shares.iter_rows(named=True):
        percents = {name: wording.percent(row[name]) for name in names}
        rows.append({"label": row["label"], "crops": row["crops"], "marked": row["label"] in marked, **percents})
    return rows
