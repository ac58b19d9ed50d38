"""model_card.md: one page about a classifier, from the tables that the report is made of. Names stay text."""

import re
from collections.abc import Iterable, Sequence

import polars as pl

from trapline.report import confidence, figures, wording
from trapline.report.origin import provenance
from trapline.report.page import SPLIT_ORDER, Material
from trapline.report.wording import Cell, Figures, count, percent

LABELS = 25
PLACES = 3
CONFUSIONS = 5
FIGURES = (
    ("Macro recall (average over labels)", "macro_recall"),
    ("Accuracy over all crops", "accuracy"),
    ("Macro top-3 recall", "macro_top3_recall"),
    ("Macro F1", "macro_f1"),
    ("Mean average precision", "macro_average_precision"),
)
TITLES = ("Model", "Input size", "Best epoch", "Trained with", "Trained on", "Training data fingerprint",
          "Evaluated data fingerprint", "Evaluated with", "Evaluated by", "Evaluated at")  # fmt: skip


def render(material: Material) -> str:
    """The card as Markdown."""
    found = Figures(material.metrics)
    other = str(material.params.get("scores_of") or "")
    split = wording.judged_split(found)
    labels = list(material.labels)
    rows = confidence.threshold_rows(material.tables["thresholds"], split) if split and material.tables else []
    wished = float(material.tables["thresholds"]["wished"][0]) if rows else None
    notes = [
        *wording.of_another(other),
        *wording.cross_validated(material.turns),
        *wording.keep_in_mind(found, split, labels, sum(row.crops for row in material.left_out), other),
    ]
    saved = confidence.savings(rows, wished, labels) if wished else ""
    parts = [
        f"# Model card: {text(other or material.run)}",
        "\n\n".join(text(line) for line in (wording.headline(found, split, other), saved) if line),
        f"## What it names\n\n{count(len(labels), 'label')}: {', '.join(text(label) for label in labels)}.",
        _data(found, other),
        *(
            (_results(found, split, other), _labels(found, split, labels, rows), _failures(material, split))
            if split
            else ()
        ),
        "## Limits\n\n" + _list(text(note) for note in notes),
        _use(other, wished),
        _provenance(material),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _data(found: Figures, other: str) -> str:
    names = wording.OF_OTHERS if other else wording.SPLIT_WORDS
    rows = [
        (names[name], *(f"{found.count(name, what):,}" for what in ("crops", "groups", "labels")))
        for name in SPLIT_ORDER
        if found.count(name, "crops")
    ]
    return "## Data\n\n" + _table(("Crops of", "Crops", "Locations", "Labels"), rows)


def _results(found: Figures, split: str, other: str) -> str:
    rows = [(words, *_cell(found(split, name))) for words, name in FIGURES if found(split, name) != Cell()]
    whole = found(split, "macro_recall", "", "unit", "sequence")
    if whole.value is not None:
        rows.append(("Macro recall of whole sequences", *_cell(whole)))
    seen, gap = found("seen", "macro_recall"), found("test", "gap_macro_recall")
    if split == "test" and not other and seen.value is not None:
        rows.append(("Macro recall at locations it was trained on (other crops)", *_cell(seen)))
    if split == "test" and not other and gap.value is not None:
        ends = "–" if gap.low is None or gap.high is None else f"{100 * gap.low:.0f} to {100 * gap.high:.0f} points"
        rows.append(("That is more than at new ones by", f"{100 * gap.value:.0f} points", ends))
    for words, name in (("Guessing", "chance_macro_recall"), ("Always the commonest label", "majority_macro_recall")):
        rows.append((f"Macro recall of: {words}", *_cell(found(split, name))))
    loss, error = found(split, "log_loss"), found(split, "ece_calibrated")
    if error.value is not None:
        rows.append(("Calibration error (ECE) of calibrated scores", f"{error.value:.3f}", wording.DASH))
    if loss.value is not None:
        ends = wording.DASH if loss.low is None else f"{loss.low:.2f}{wording.DASH}{loss.high:.2f}"
        rows.append(("Log loss", f"{loss.value:.2f}", ends))
    return f"## Results at {split}\n\n" + _table(("Figure", "Value", "95% interval over locations"), rows)


def _labels(found: Figures, split: str, labels: Sequence[str], rows: Sequence[confidence.ThresholdRow]) -> str:
    least = {row.label: row.threshold for row in rows}
    order = sorted(labels, key=lambda label: (-found(split, "recall", label).support, label))

    def told(cell: Cell) -> str:
        return f"{cell.text} ({cell.interval})" if cell.interval else cell.text

    table = _table(
        ("Label", "Crops", "Locations", "Recall", "Precision", "Threshold"),
        [
            (
                text(label),
                f"{found(split, 'recall', label).support:,}",
                f"{found.count(split, 'groups', label):,}",
                told(found(split, "recall", label)),
                told(found(split, "precision", label)),
                percent(least.get(label)),
            )
            for label in order[:LABELS]
        ],
    )
    more = len(labels) - LABELS
    return "## Labels\n\n" + table + (f"\n\n{count(more, 'rarer label')} are in the report." if more > 0 else "")


def _failures(material: Material, split: str) -> str:
    lines = []
    places = (
        material.crops.filter(pl.col("split") == split)
        .group_by("location")
        .agg(right=(pl.col("label") == pl.col("predicted")).mean(), crops=pl.len())
        .sort("right", "location")
    )
    if places.height > 1:
        worst = [f"{text(name)} ({percent(right)} of {crops:,})" for name, right, crops in places.head(PLACES).rows()]
        lines.append(f"Worst locations: {', '.join(worst)}.")
    pairs = figures.confused_pairs(material.confusion[split], list(material.labels), CONFUSIONS)
    if pairs:
        named = [f"{text(pair.label)} named {text(pair.predicted)} ({percent(pair.share)})" for pair in pairs]
        lines.append(f"Most frequent confusions: {', '.join(named)}.")
    return "## Where it fails\n\n" + _list(lines) if lines else ""


def _use(other: str, wished: float | None) -> str:
    lines = [
        "For naming crops of camera-trap images (detected animals) in places like those above, before or beside a "
        "person; not for counting individuals, and not as the only evidence for a rare species.",
        "It names everything as one of its labels: whatever is not among them is named wrongly, often with confidence.",
        "Elsewhere (another region, other cameras, other species), label some images first and evaluate again.",
    ]
    if wished:
        lines.append(
            f"Below a label's threshold a person should look; thresholds were chosen on val to reach {percent(wished)} "
            "precision, and what they gave at other locations stands above."
        )
    if other:
        lines.append("What its makers intended it for is not known here: see their own documentation.")
    return "## Intended use\n\n" + _list(lines)


def _provenance(material: Material) -> str:
    chosen = [f"{name}: {text(value)}" for name, value in provenance(material) if name in TITLES]
    return "## Provenance\n\n" + _list(chosen)


def _cell(cell: Cell) -> tuple[str, str]:
    return cell.text, cell.interval or wording.DASH


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def text(words: str) -> str:
    """Words from outside as they are: nothing in them is Markdown or HTML."""
    flat = re.sub(r"\s+", " ", words.replace("\u2060", ""))
    return re.sub(r"([\\`*_\[\]|#~$])", r"\\\1", flat).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
