"""How far probabilities are to be believed, and what that saves: reliability diagrams, thresholds, the explorer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
import polars as pl

from trapline.report.wording import count, interval, percent

SIDE, LEFT, RIGHT, TOP, BOTTOM = 300, 42, 18, 10, 36
WIDE, HIGH = 520, 260
STEPS = 100
"""Thresholds of a curve: 0 to STEPS, in hundredths."""
SHOWN_STEPS = (0, 50, 60, 70, 80, 90, 95, 99)


@dataclass(frozen=True)
class Bin:
    """One point of a reliability diagram: crops of about the same confidence. Coordinates in SVG units."""

    x: float
    y: float
    low: float | None
    high: float | None
    radius: float
    confidence: float
    accuracy: float
    interval: str
    crops: int


@dataclass(frozen=True)
class Diagram:
    """A reliability diagram in a SIDE x SIDE view.

    Args:
        scores: raw or calibrated.
        error: Expected calibration error, 0 to 1, in words; or nothing.
    """

    scores: str
    title: str
    summary: str
    error: str
    bins: list[Bin]


def diagrams(
    reliability: pl.DataFrame, split: str, errors: Mapping[str, tuple[float | None, float | None]]
) -> list[Diagram]:
    """Reliability of a split before and after calibration; those without crops are left out.

    Args:
        reliability: RELIABILITY rows.
        errors: Of "raw" and "calibrated" scores: the expected calibration error, and what so few crops would show if
            they were calibrated perfectly.
    """
    found = []
    for scores, title in (("raw", "As the model says it"), ("calibrated", "Calibrated")):
        rows = reliability.filter(pl.col("split") == split, pl.col("scores") == scores).sort("bin")
        if not rows.height:
            continue
        most = max(rows["crops"])
        bins = [
            Bin(
                _across(confidence),
                _up(accuracy),
                None if low is None else _up(low),
                None if high is None else _up(high),
                round(2.5 + 5 * (crops / most) ** 0.5, 1),
                confidence,
                accuracy,
                interval(low, high),
                crops,
            )
            for confidence, accuracy, low, high, crops in rows.select(
                "confidence", "accuracy", "low", "high", "crops"
            ).iter_rows()
        ]
        said = "; ".join(f"where it says {percent(b.confidence)}, {percent(b.accuracy)} are right" for b in bins)
        error, floor = errors.get(scores, (None, None))
        words = "" if error is None else f"off by {100 * error:.1f} points on average"
        if words and floor is not None:
            words += f" ({100 * floor:.1f} would be chance)"
        found.append(Diagram(scores, title, f"{title}: {said}.", words, bins))
    return found


def _across(share: float) -> float:
    return round(LEFT + share * (SIDE - LEFT - RIGHT), 1)


def _up(share: float) -> float:
    return round(TOP + (1 - share) * (SIDE - TOP - BOTTOM), 1)


@dataclass(frozen=True)
class ThresholdRow:
    """One label's threshold, chosen on val, and what it gives at the judged split."""

    label: str
    threshold: float | None
    named: int
    kept: int
    precision: float | None
    precision_interval: str
    coverage: float | None
    coverage_interval: str
    reason: str


def threshold_rows(thresholds: pl.DataFrame, split: str) -> list[ThresholdRow]:
    """Every label's row, "" (all labels together) first.

    Args:
        thresholds: THRESHOLDS rows.
    """
    columns = (
        "label", "threshold", "named", "kept", "precision", "precision_low", "precision_high",
        "coverage", "coverage_low", "coverage_high", "reason",
    )  # fmt: skip
    return [
        ThresholdRow(
            label, threshold, named, kept, precision, interval(low, high), coverage, interval(least, most), reason or ""
        )
        for label, threshold, named, kept, precision, low, high, coverage, least, most, reason in thresholds.filter(
            pl.col("split") == split
        )
        .sort("label")
        .select(columns)
        .iter_rows()
    ]


def savings(rows: Sequence[ThresholdRow], wished: float, labels: Sequence[str]) -> str:
    """What thresholds save, in one sentence; empty where nothing is known.

    Args:
        rows: Of the judged split.
        wished: The precision that the thresholds were chosen to reach, 0 to 1.
        labels: L names, to tell which never reach it.
    """
    whole = next((row for row in rows if row.label == ""), None)
    if whole is None or whole.coverage is None or not whole.named:
        return ""
    given = {row.label for row in rows if row.threshold is not None}
    never = [label for label in labels if label not in given]
    sure = f" (95% interval {whole.coverage_interval})" if whole.coverage_interval else ""
    text = f"Aiming at {percent(wished)} precision, {percent(whole.coverage)} of crops need no person{sure}"
    if whole.precision is not None:
        right = f" (95% interval {whole.precision_interval})" if whole.precision_interval else ""
        text += f"; {percent(whole.precision)} of those are right{right}"
    if never:
        some = ", ".join(never[:12]) + (" …" if len(never) > 12 else "")
        reach, its = ("never reaches", "its") if len(never) == 1 else ("never reach", "their")
        text += f". {count(len(never), 'label')} {reach} it, so a person looks at all of {its} crops: {some}"
    return text + "."


class Curves(msgspec.Struct):
    """What the threshold explorer's script reads.

    Args:
        labels: "" (all labels together) first.
        judged: The split that is shown.
        kept, right: Split -> per label, crops at or above every threshold, and those of them that are right.
    """

    labels: list[str]
    judged: str
    kept: dict[str, list[list[int]]]
    right: dict[str, list[list[int]]]


def curves(table: pl.DataFrame, judged: str | None) -> Curves | None:
    """The threshold curves of val, where a threshold is chosen, and of the split that is judged; None without any.

    Args:
        table: THRESHOLD_CURVES rows; each label has all STEPS + 1 thresholds, or none.
    """
    splits = [name for name in dict.fromkeys((judged, "val")) if name is not None]
    table = table.filter(pl.col("split").is_in(splits))
    if judged is None or not table.filter((pl.col("split") == judged) & (pl.col("label") == "")).height:
        return None
    named = table.filter(pl.col("threshold") == 0, pl.col("kept") > 0)["label"].unique().sort().to_list()
    labels = ["", *(label for label in named if label)]
    kept: dict[str, list[list[int]]] = {}
    right: dict[str, list[list[int]]] = {}
    for split in splits:
        lists = table.filter(pl.col("split") == split).sort("threshold").group_by("label").agg("kept", "right")
        found = {label: (k, r) for label, k, r in lists.iter_rows()}
        if not found:
            continue
        nothing = [0] * (STEPS + 1)
        kept[split] = [found.get(label, (nothing, nothing))[0] for label in labels]
        right[split] = [found.get(label, (nothing, nothing))[1] for label in labels]
    return Curves(labels, judged, kept, right)


@dataclass(frozen=True)
class Step:
    """One threshold of all labels together, in words and numbers."""

    threshold: str
    kept: int
    coverage: str
    precision: str
    wrong: int


def steps(found: Curves) -> list[Step]:
    """The explorer as a table, for who cannot move its slider."""
    kept, right = found.kept[found.judged][0], found.right[found.judged][0]
    return [
        Step(
            f"{t}%",
            kept[t],
            percent(kept[t] / kept[0] if kept[0] else None),
            percent(right[t] / kept[t] if kept[t] else None),
            kept[t] - right[t],
        )
        for t in SHOWN_STEPS
    ]


def polylines(found: Curves) -> tuple[str, str]:
    """Precision and coverage of all labels together over the threshold, as SVG points of a WIDE x HIGH view."""
    kept, right = found.kept[found.judged][0], found.right[found.judged][0]

    def place(t: int, share: float) -> str:
        return f"{LEFT + t / STEPS * (WIDE - LEFT - RIGHT):.1f},{TOP + (1 - share) * (HIGH - TOP - BOTTOM):.1f}"

    precision = " ".join(place(t, right[t] / kept[t]) for t in range(STEPS + 1) if kept[t])
    coverage = " ".join(place(t, kept[t] / max(kept[0], 1)) for t in range(STEPS + 1))
    return precision, coverage
