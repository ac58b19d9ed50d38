"""Counts as a picture: events per location and label, and of every label over time."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl

from trapline.core.rollup import LABEL, UNSURE
from trapline.io import atomic

MOST_LABELS, MOST_LOCATIONS = 25, 40
MOST_TICKS = 60  # bars over time: days, else weeks, else months
BLUE, GREY = "#0072b2", "#999999"
OTHERS = "others"


def draw(counts: pl.DataFrame, path: Path) -> None:
    """Draw COUNTS rows and write a PNG; the same table gives the same picture.

    Labels and locations with the fewest events are drawn together as "others" beyond 25 and 40.
    """
    from io import BytesIO

    import matplotlib  # a second of import

    matplotlib.use("Agg")
    from matplotlib import pyplot

    labels = _most(_named(counts), "name", MOST_LABELS)
    rows = _most(labels.with_columns(place=pl.col("location_id").fill_null("no location")), "place", MOST_LOCATIONS)
    names, places = _order(rows, "name"), sorted(rows["place"].unique())
    if OTHERS in places:
        places = [*(place for place in places if place != OTHERS), OTHERS]
    matrix = np.zeros((len(places), len(names)), np.int64)
    for place, name, events in rows.group_by("place", "name").agg(pl.col("events").sum()).iter_rows():
        matrix[places.index(place), names.index(name)] = events
    with pyplot.rc_context({"font.size": 9}):
        height = 2.2 + 0.24 * max(len(places), 2 * len(names), 4)
        figure, (left, right) = pyplot.subplots(
            1, 2, figsize=(5 + 0.42 * len(names) + 6, height), layout="constrained",
            width_ratios=[1.6 + 0.42 * len(names), 6],
        )  # fmt: skip
        _heat(left, matrix, names, places)
        _timelines(right, rows, names)
        figure.suptitle(f"{int(matrix.sum()):,} independent events")
        memory = BytesIO()
        figure.savefig(memory, format="png", dpi=110, metadata={"Software": None})
        pyplot.close(figure)
    atomic.replace(path, lambda stream: stream.write(memory.getbuffer()))


def _named(counts: pl.DataFrame) -> pl.DataFrame:
    """With `name`: a taxon says of which level it is."""
    taxon = ~pl.col("level").is_in(["", LABEL])
    return counts.with_columns(name=pl.when(taxon).then(pl.format("{} ({})", "label", "level")).otherwise("label"))


def _most(rows: pl.DataFrame, column: str, most: int) -> pl.DataFrame:
    totals = rows.group_by(column).agg(pl.col("events").sum()).sort("events", column, descending=[True, False])
    if totals.height <= most:
        return rows
    kept = totals.head(most - 1)[column].implode()
    return rows.with_columns(pl.when(pl.col(column).is_in(kept)).then(column).otherwise(pl.lit(OTHERS)).alias(column))


def _order(rows: pl.DataFrame, column: str) -> list[str]:
    """Most events first; what is no species last."""
    totals = rows.group_by(column).agg(pl.col("events").sum()).sort("events", column, descending=[True, False])
    names = totals[column].to_list()
    last = [name for name in (OTHERS, UNSURE) if name in names]
    return [*(name for name in names if name not in last), *last]


def _heat(axes, matrix: np.ndarray, names: list[str], places: list[str]) -> None:
    shade = np.log1p(matrix)
    axes.imshow(np.where(matrix > 0, shade, np.nan), cmap="Blues", vmin=-0.4, vmax=max(shade.max(initial=1), 1) * 1.1,
                aspect="auto")  # fmt: skip
    dark = shade > 0.6 * shade.max(initial=1)
    for (row, column), events in np.ndenumerate(matrix):
        if events:
            axes.text(column, row, f"{events:,}", ha="center", va="center", fontsize=7,
                      color="white" if dark[row, column] else "black")  # fmt: skip
    axes.set_xticks(
        range(len(names)), [_plain(name) for name in names], rotation=60, ha="right", rotation_mode="anchor"
    )
    axes.set_yticks(range(len(places)), [_plain(place) for place in places])
    axes.set_xticks(np.arange(-0.5, len(names)), minor=True)
    axes.set_yticks(np.arange(-0.5, len(places)), minor=True)
    axes.grid(which="minor", color="#dddddd", linewidth=0.5)
    axes.tick_params(which="minor", length=0)
    axes.set_title("events by location", fontsize=10)


def _timelines(axes, rows: pl.DataFrame, names: list[str]) -> None:
    """A row of bars per label, each as high as its own busiest period."""
    dated = rows.drop_nulls("date")
    axes.set_yticks(range(len(names)), [_plain(name) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    if not dated.height:
        axes.set_title("no image has a time", fontsize=10)
        axes.set_xticks([])
        return
    first, last = (dated.select(getattr(pl.col("date"), end)()).item() for end in ("min", "max"))
    span = (last - first).days + 1
    days, unit = next(
        ((d, u) for d, u in ((1, "day"), (7, "week"), (30, "30 days")) if span / d <= MOST_TICKS), (365, "year")
    )
    number = (pl.col("date") - first).dt.total_days() // days
    sums = dated.group_by("name", number=number).agg(pl.col("events").sum())
    for row, name in enumerate(names):
        own = sums.filter(pl.col("name") == name)
        if own.height:
            most = int(own["events"].max())  # pyright: ignore[reportArgumentType]
            starts = [first + timedelta(days=int(n) * days) for n in own["number"]]
            heights = own["events"].to_numpy() / most * 0.85
            axes.bar(starts, -heights, width=days * 0.9, bottom=row + 0.45, align="edge",
                     color=GREY if name == UNSURE else BLUE)  # fmt: skip
            axes.annotate(f"{most:,}", (1.005, row), xycoords=("axes fraction", "data"), va="center", fontsize=7)
    axes.set_xlim(first - timedelta(days=days * 0.3), last + timedelta(days=days))
    axes.tick_params(axis="x", rotation=30)
    axes.grid(axis="x", color="#eeeeee")
    axes.set_axisbelow(True)
    axes.set_title(f"events per {unit} (right: the most in one {unit})", fontsize=10)


def _plain(name: str) -> str:
    """Text that matplotlib does not take for mathematics, and that leaves room for the picture."""
    return (name if len(name) <= 32 else f"{name[:31]}…").replace("$", r"\$")
