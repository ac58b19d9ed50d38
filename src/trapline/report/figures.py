"""Geometry of the page's figures: numbers in, coordinates out. The templates draw them as SVG and tables."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trapline.report.wording import percent

# Okabe & Ito 2008, "Color universal design": told apart by every common kind of colour vision.
BLUE, ORANGE = (0, 114, 178), (213, 94, 0)
WIDTH, HEIGHT = 420, 230
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 14, 34
MATRIX_LABELS = 100
"""Labels of the confusion matrix: more are not told apart on a page."""
SHADES = 9
PAIRS = 40


@dataclass(frozen=True)
class Curve:
    """One line of a chart: its name, class for colour and dash, and SVG points."""

    name: str
    kind: str
    points: str
    dots: list[tuple[float, float, str]]


@dataclass(frozen=True)
class Chart:
    """A line chart over epochs; everything in SVG units of a WIDTH x HEIGHT view."""

    title: str
    summary: str
    curves: list[Curve]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    best: float | None


@dataclass(frozen=True)
class MatrixCell:
    """One cell of the confusion matrix.

    Args:
        number: true * L + named, by which the page's script finds its crops.
        shade: Class of its colour: r (right) or w (wrong) and 1 to SHADES by the share of the row.
        words: The same for who sees no colour.
    """

    number: int
    crops: int
    shade: str
    words: str


@dataclass(frozen=True)
class Shade:
    """A colour of the matrix, and whether white is read on it better than the page's ink."""

    name: str
    background: str
    dark: bool


@dataclass(frozen=True)
class Pair:
    """Crops of `label` that were named `predicted`; `number` as in MatrixCell."""

    number: int
    label: str
    predicted: str
    crops: int
    share: float


def learning_curves(epochs: Sequence[Mapping[str, object]], best_epoch: object) -> list[Chart]:
    """How val accuracy and the losses went over the epochs; charts without any point are left out."""
    wanted = (
        ("Accuracy on val", [("macro recall", "val_macro_recall", "a"), ("accuracy", "val_accuracy", "b")], True),
        ("Mean average precision on val", [("mean average precision", "val_mean_ap", "a")], True),
        ("Loss", [("val", "val_loss", "a"), ("train", "train_loss", "b")], False),
    )
    charts = [_chart(title, epochs, lines, shares, best_epoch) for title, lines, shares in wanted]
    return [chart for chart in charts if chart is not None]


def _chart(
    title: str,
    epochs: Sequence[Mapping[str, object]],
    lines: Sequence[tuple[str, str, str]],
    shares: bool,
    best_epoch: object,
) -> Chart | None:
    found = {name: (kind, _series(epochs, key)) for name, key, kind in lines}
    found = {name: (kind, series) for name, (kind, series) in found.items() if series}
    if not found:
        return None
    every = [point for _, series in found.values() for point in series]
    first, last = min(x for x, _ in every), max(x for x, _ in every)
    top = 1.0 if shares else _round_up(max(y for _, y in every))

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - first) / (last - first) if last > first else 0.5
        across, up = LEFT + across * (WIDTH - LEFT - RIGHT), 1 - min(max(y / top, 0.0), 1.0)
        return round(across, 1), round(TOP + up * (HEIGHT - TOP - BOTTOM), 1)

    def say(value: float) -> str:
        return percent(value) if shares else f"{value:.2f}"

    curves = []
    for name, (kind, series) in found.items():
        dots = [(*place(x, y), f"epoch {x:g}: {name} {say(y)}") for x, y in series]
        curves.append(Curve(name, kind, " ".join(f"{x},{y}" for x, y, _ in dots), dots))
    summary = "; ".join(
        f"{name} from {say(series[0][1])} at epoch {series[0][0]:g} to {say(series[-1][1])} at epoch {series[-1][0]:g}"
        for name, (_, series) in found.items()
    )
    step = max(1, math.ceil((last - first) / 8))
    x_ticks = [(place(x, 0)[0], f"{x}") for x in range(int(first), int(last) + 1, step)]
    y_ticks = [(place(first, top * n / 4)[1], say(top * n / 4)) for n in range(5)]
    is_known = isinstance(best_epoch, int | float) and first <= best_epoch <= last
    best = place(float(best_epoch), 0)[0] if is_known else None  # type: ignore[arg-type]
    return Chart(title, f"{title}: {summary}.", curves, x_ticks, y_ticks, best)


def _series(epochs: Sequence[Mapping[str, object]], key: str) -> list[tuple[float, float]]:
    pairs = ((row.get("epoch"), row.get(key)) for row in epochs)
    return [
        (float(x), float(y))
        for x, y in pairs
        if isinstance(x, int | float) and isinstance(y, int | float) and math.isfinite(x) and math.isfinite(y)
    ]


def _round_up(value: float) -> float:
    """The next of 1, 2, 4, 5, 8, 10 times a power of ten, so that four ticks are round numbers."""
    if value <= 0:
        return 1.0
    power = 10 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 4, 6, 8, 10) if step * power >= value * (1 - 1e-9))


def matrix(
    confusion: NDArray[np.integer], labels: Sequence[str], shown: Sequence[int]
) -> list[tuple[str, int, list[MatrixCell]]]:
    """The confusion matrix of the `shown` labels as rows of cells, coloured by the share of the row."""
    totals = confusion.sum(1)
    return [(labels[i], int(totals[i]), [_cell(confusion, totals, labels, i, j) for j in shown]) for i in shown]


def matrix_labels(confusion: NDArray[np.integer]) -> list[int]:
    """Numbers of the labels that occur in a confusion matrix, as true or as predicted."""
    return [int(n) for n in np.flatnonzero(confusion.sum(0) + confusion.sum(1))]


def most_confused(confusion: NDArray[np.integer], number: int = MATRIX_LABELS) -> list[int]:
    """Numbers of the labels that occur, in their order; if they are more than `number`, those with most mistakes."""
    found = np.array(matrix_labels(confusion), dtype=np.int64)
    wrong = confusion - np.diag(np.diag(confusion))
    order = np.argsort(-(wrong.sum(0) + wrong.sum(1))[found], kind="stable")
    return sorted(found[order[:number]].tolist())


def shades() -> list[Shade]:
    """The colours of the matrix: blue is right, orange is wrong, on a scale that ends at nine tenths of full colour."""
    found = []
    for kind, colour in (("r", BLUE), ("w", ORANGE)):
        for n in range(1, SHADES + 1):
            mixed = tuple(round(255 - 0.9 * n / SHADES * (255 - part)) for part in colour)
            light = _luminance(mixed) + 0.05
            found.append(Shade(f"{kind}{n}", f"rgb({mixed[0]} {mixed[1]} {mixed[2]})", 1.05 / light > light / 0.068))
    return found


def _luminance(colour: tuple[int, ...]) -> float:
    """Relative luminance, 0 to 1. Source: WCAG 2.2."""
    parts = [part / 255 for part in colour]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _cell(
    confusion: NDArray[np.integer], totals: NDArray[np.integer], labels: Sequence[str], i: int, j: int
) -> MatrixCell:
    crops, total = int(confusion[i, j]), int(totals[i])
    share = crops / total if total else 0.0
    words = f"{crops:,} of {total:,} {labels[i]} ({percent(share)}) named {labels[j]}"
    # The square root of the share keeps single mistakes visible.
    shade = f"{'r' if i == j else 'w'}{max(1, round(SHADES * math.sqrt(share)))}" if crops else ""
    return MatrixCell(i * len(labels) + j, crops, shade, words)


def confused_pairs(confusion: NDArray[np.integer], labels: Sequence[str], number: int = PAIRS) -> list[Pair]:
    """The most frequent confusions, most crops first."""
    wrong = confusion - np.diag(np.diag(confusion))
    order = np.argsort(-wrong, axis=None, kind="stable")[:number]
    return [_pair(wrong, confusion, labels, *divmod(int(flat), len(labels))) for flat in order if wrong.flat[flat]]


def mistaken_for(confusion: NDArray[np.integer], labels: Sequence[str]) -> list[Pair | None]:
    """Per label: what it is most often mistaken for, or None."""
    wrong = confusion - np.diag(np.diag(confusion))
    most = wrong.argmax(1)
    return [_pair(wrong, confusion, labels, i, int(j)) if wrong[i, j] else None for i, j in enumerate(most)]


def _pair(wrong: NDArray[np.integer], confusion: NDArray[np.integer], labels: Sequence[str], i: int, j: int) -> Pair:
    share = float(wrong[i, j] / confusion[i].sum())
    return Pair(i * len(labels) + j, labels[i], labels[j], int(wrong[i, j]), share)
