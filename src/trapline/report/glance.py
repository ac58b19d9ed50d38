"""A project at a glance, for a notebook: how each stage stands, its labels and splits, how good its classifier is."""

import html
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from trapline.report import split_figure

MOST = 25  # labels shown


@dataclass(frozen=True)
class Glance:
    """What there is to show; tables that were not made yet are None.

    Args:
        title: The project's folder.
        stages: (stage, state, rows) of each.
        warnings: What a person should look at.
        examples, splits, metrics: EXAMPLES, SPLITS and METRICS rows.
        fractions: Wished-for shares of train, val and test.
        report: Where the report lies, or "".
    """

    title: str
    stages: Sequence[tuple[str, str, str]]
    warnings: Sequence[str] = ()
    examples: pl.DataFrame | None = None
    splits: pl.DataFrame | None = None
    metrics: pl.DataFrame | None = None
    fractions: tuple[float, float, float] = (0.6, 0.2, 0.2)
    report: str = ""


def as_html(glance: Glance) -> str:
    """The glance as HTML that needs nothing from elsewhere; every name in it is escaped."""
    parts = [f"<h4>{_text(glance.title)}</h4>", *_headline(glance)]
    rows = "".join("<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in glance.stages)
    parts.append(f"<table><tr><th>stage</th><th>state</th><th>rows</th></tr>{rows}</table>")
    if glance.examples is not None and glance.examples.height:
        parts.append(_labels(glance.examples))
        if glance.splits is not None and glance.splits.height:
            parts.append(_picture(glance.examples, glance.splits, glance.fractions))
    if glance.warnings:
        parts.append("<ul>" + "".join(f"<li>{_text(warning)}</li>" for warning in glance.warnings) + "</ul>")
    return "\n".join(parts)


def _headline(glance: Glance) -> list[str]:
    """The figure to quote, with its interval."""
    if glance.metrics is None:
        return []
    found = glance.metrics.filter(name="macro_recall", split="test", label="", group_kind="").drop_nulls("value")
    if not found.height:
        return []
    row = found.row(0, named=True)
    interval = "" if row["low"] is None else f" (95% interval {row['low']:.3f} to {row['high']:.3f})"
    report = f"; report: {glance.report}" if glance.report else ""
    return [f"<p><b>macro recall at test cameras {row['value']:.3f}{interval}</b>{_text(report)}</p>"]


def _labels(examples: pl.DataFrame) -> str:
    """A bar of crops per label."""
    counts = (
        examples.explode("labels")
        .group_by("labels")
        .agg(crops=pl.len(), groups=pl.col("group_id").n_unique())
        .sort("crops", "labels", descending=[True, False])
    )
    most = counts["crops"].max()
    rows = "".join(
        f'<tr><td>{_text(label)}</td><td><progress value="{crops}" max="{most}"></progress> {crops:,} crops</td>'
        f"<td>{groups:,} groups</td></tr>"
        for label, crops, groups in counts.head(MOST).iter_rows()
    )
    more = counts.height - MOST
    return f"<table>{rows}</table>" + (f"<p>and {more} labels more</p>" if more > 0 else "")


def _picture(examples: pl.DataFrame, splits: pl.DataFrame, fractions: tuple[float, float, float]) -> str:
    """Each label's share of crops per split, as SVG."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "split.svg"
        split_figure.draw(split_figure.shares(examples, splits), fractions, path)
        drawn = path.read_text("utf-8")
    return drawn[drawn.index("<svg") :]


def _text(value: str) -> str:
    return html.escape(value).replace("\n", "<br>")
