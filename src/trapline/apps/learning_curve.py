"""`trapline learning-curve`: what more places, or more images of each place, would bring."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from trapline.core.curve import Gain, doubled
from trapline.core.errors import InputError
from trapline.learn import curve
from trapline.learn.curve import Curve
from trapline.project import Project
from trapline.report import curve_figure, figure_file

MOST_CROPS = 4_000  # probes are fitted on; more take minutes each and change little


@dataclass(frozen=True)
class Learning:
    """A project's learning curves.

    Args:
        places, crops: The curves, by places learnt from and by crops of each place.
        more_places, more_crops: What twice as much of either would bring.
        used, there: Crops that the curves are of, and that there are.
    """

    places: Curve
    crops: Curve
    more_places: Gain
    more_crops: Gain
    used: int
    there: int

    def lines(self) -> list[str]:
        """What a person is told."""
        now = self.places.recalls[:, -1].mean()
        told = [
            f"a probe finds {now:.0%} of each label's crops on average at places held out, learning from "
            f"{self.places.sizes[:, -1].mean():,.0f} places and {self.crops.sizes[:, -1].mean():,.0f} crops",
            f"twice the places would bring about {self.more_places.words()}",
            f"twice the images of each place, about {self.more_crops.words()}",
        ]
        if self.used < self.there:
            told.append(f"{self.used:,} of {self.there:,} crops were used, whole bursts of every place")
        return told


def learning_curve(project: Project, plot: Path, *, divisions: int = 10, seed: int = 0) -> Learning:
    """Fit probes on the features of growing shares of the data, judge them at places held out, and draw it.

    The test split is left out: what is decided by these curves must not depend on it.

    Args:
        plot: The picture to write: .svg, .png or .pdf.
        divisions: Random divisions of the places; 2 or more.

    Raises:
        InputError: Fewer than 8 places or two labels; an ending that a picture cannot have.
    """
    if divisions < 2:
        raise InputError("--divisions must be 2 or more: their spread is the interval.")
    figure_file.check(plot)
    project.run(until="split")
    project.make("embed")
    rows = _rows(project)
    there = rows.height
    rows = _at_most(rows, MOST_CROPS, seed)
    groups = rows["group_id"].rank("dense").to_numpy().astype(int)
    names = rows["label"].unique().sort()
    if len(np.unique(groups)) < curve.LEAST_GROUPS or len(names) < 2:
        raise InputError(
            f"a learning curve needs {curve.LEAST_GROUPS} places and 2 labels at least; outside the test split there "
            f"are {len(np.unique(groups))} places and {len(names)} labels with features."
        )
    with project.log.progress("probes", divisions, "divisions") as advance:
        places, crops = curve.curves(
            rows["embedding"].to_numpy(),
            names.search_sorted(rows["label"]).to_numpy(),
            groups,
            rows["burst"].rank("dense").to_numpy().astype(int),
            divisions=divisions,
            seed=seed,
            done=advance,
        )
    panels = (("places learnt from", places), ("crops, of all places", crops))
    curve_figure.draw([(what, found.sizes, found.recalls) for what, found in panels], plot)
    gains = (doubled(found.sizes, found.recalls) for found in (places, crops))
    return Learning(places, crops, *gains, used=rows.height, there=there)


def _rows(project: Project) -> pl.DataFrame:
    """group_id, label, burst, embedding of every crop with one label, outside the test split."""
    test = project.table("splits").filter(pl.col("split") == "test")
    one = project.table("examples").filter(pl.col("labels").list.len() == 1)
    joined = one.join(test, on="group_id", how="anti").join(project.table("embeddings"), on="crop_id", how="inner")
    return (
        joined.drop_nulls("embedding")
        .with_columns(label=pl.col("labels").list.first(), burst=pl.coalesce("sequence_id", "image_id"))
        .select("crop_id", "group_id", "label", "burst", "embedding")
        .sort("crop_id")
    )


def _at_most(rows: pl.DataFrame, most: int, seed: int) -> pl.DataFrame:
    """So many rows at most: of every place the same share of its bursts."""
    if rows.height <= most:
        return rows
    keys = rows.select("group_id", "burst").unique(maintain_order=True)
    order = np.random.default_rng(seed).permutation(keys.height)
    keys = keys.with_columns(order=pl.Series(order))
    share = pl.col("order").rank("ordinal").over("group_id") - 1 < (most / rows.height) * pl.len().over("group_id")
    return rows.join(keys.filter(share), on=["group_id", "burst"], how="semi", maintain_order="left")
