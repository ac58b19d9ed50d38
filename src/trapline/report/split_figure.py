"""A split as a picture: every label's share of crops in val and test beside what was wished, the extremes named."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from trapline.core.schemas import SPLIT_NAMES
from trapline.report import figure_file

# Okabe & Ito 2008, told apart by every common kind of colour vision; shapes tell them apart in grey too.
COLOURS = ("#999999", "#0072b2", "#d55e00")
MARKS = ("s", "o", "D")
EXTREMES = 3


def shares(examples: pl.DataFrame, splits: pl.DataFrame) -> pl.DataFrame:
    """label, crops, and its share of crops in every split (train, val, test: 0 to 1); most crops first.

    Args:
        examples, splits: EXAMPLES and SPLITS rows.
    """
    long = examples.select("group_id", label="labels").explode("label").join(splits, on="group_id", how="inner")
    return (
        long.group_by("label")
        .agg(crops=pl.len(), **{name: (pl.col("split") == name).mean() for name in SPLIT_NAMES})
        .sort("crops", "label", descending=[True, False])
    )


def draw(table: pl.DataFrame, fractions: Sequence[float], path: Path) -> list[str]:
    """Draw `shares` and write it as SVG, PNG or PDF, by the path's ending; the same table gives the same bytes.

    Args:
        fractions: Wished-for share of train, val and test, drawn as lines.

    Returns:
        The labels that are marked: furthest from what was wished, in any split, furthest first.

    Raises:
        InputError: Another ending.
    """
    figure_file.check(path)
    import matplotlib  # a second of import

    matplotlib.use("Agg")
    from matplotlib import pyplot

    off = table.select(
        "label", off=pl.max_horizontal((pl.col(n) - t).abs() for n, t in zip(SPLIT_NAMES, fractions, strict=True))
    ).sort("off", "label", descending=[True, False])
    marked = off.head(min(EXTREMES, table.height))["label"].to_list()
    rows = list(range(table.height))
    with pyplot.rc_context({"svg.hashsalt": "trapline", "font.size": 9}):
        figure, axes = pyplot.subplots(figsize=(7, 1.4 + 0.24 * max(table.height, 3)), layout="constrained")
        for name, target, colour, mark in zip(SPLIT_NAMES, fractions, COLOURS, MARKS, strict=True):
            axes.axvline(target, color=colour, linewidth=1, linestyle="--", zorder=1)
            label = f"{name} (wished {target:.0%})"
            axes.scatter(table[name], rows, s=22, color=colour, marker=mark, label=label, zorder=3)
        for row, (label, *values) in enumerate(table.select("label", *SPLIT_NAMES).iter_rows()):
            if label in marked:
                places = zip(values, fractions, strict=True)
                value, _ = max(places, key=lambda pair: abs(pair[0] - pair[1]))
                axes.annotate(f"{value:.0%}", (value, row), xytext=(6, -3), textcoords="offset points", weight="bold")
        names = [f"{label} ({crops:,})" for label, crops in table.select("label", "crops").iter_rows()]
        axes.set_yticks(rows, [name.replace("$", r"\$") for name in names])
        axes.set(
            xlim=(-0.02, 1.02), xlabel="share of the label's crops; in bold the labels furthest from what was wished"
        )
        axes.invert_yaxis()
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        figure.legend(loc="outside upper center", ncols=3, frameon=False)
        figure_file.save(figure, path)
        pyplot.close(figure)
    return marked
