"""Whether new boxes are like what a classifier was trained on, by the distance of its own features to training's.

The distance of a box is one minus the cosine between its features and those of the fifth-nearest training crop. A box
is unlike training where that exceeds what 95 of 100 crops at held-out locations (val) keep below. Measured against
other distances in docs/log.md.
"""

from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

NEIGHBOUR = 5
SHARE_BELOW = 0.95  # of val crops
MIN_VAL = 20  # fewer val crops give no threshold
MIN_BOXES = 10  # of a place, for a sentence about it
ALARMING = 0.3  # share of a place's boxes; by definition 5% of val's are unlike, at single locations up to 18%


def threshold(distances: NDArray[np.floating]) -> float | None:
    """The distance beyond which a box is unlike training; None where val has too few crops.

    Args:
        distances: Of val crops; NaN for those that could not be read.
    """
    known = distances[np.isfinite(distances)]
    return float(np.quantile(known, SHARE_BELOW)) if len(known) >= MIN_VAL else None


@dataclass
class PlaceShares:
    """Counts, place by place, of boxes that are unlike training."""

    counts: dict[str, tuple[int, int]] = field(default_factory=dict)

    def add(self, rows: pl.DataFrame) -> None:
        """Count boxes: file, location_id, unlike. A place is the location, else the folder that the image lies in."""
        folder = pl.col("file").str.extract(r"^(.*)/[^/]*$", 1).fill_null(".")
        found = (
            rows.drop_nulls("unlike")
            .group_by(place=pl.coalesce("location_id", folder))
            .agg(boxes=pl.len(), unlike=pl.col("unlike").sum())
        )
        for place, boxes, unlike in found.iter_rows():
            before = self.counts.get(place, (0, 0))
            self.counts[place] = (before[0] + boxes, before[1] + unlike)

    def words(self) -> tuple[str | None, list[str]]:
        """A sentence about all boxes, and one for every place that needs a look, the worst first."""
        boxes = sum(n for n, _ in self.counts.values())
        if not boxes:
            return None, []
        unlike = sum(n for _, n in self.counts.values())
        whole = f"{unlike:,} of {boxes:,} boxes ({unlike / boxes:.0%}) are unlike anything in training (of val: 5%)."
        shares = sorted(
            ((bad / n, place) for place, (n, bad) in self.counts.items() if n >= MIN_BOXES and bad / n >= ALARMING),
            key=lambda found: (-found[0], found[1]),
        )
        return whole, [
            f"location {place}: {share:.0%} of {self.counts[place][0]:,} crops are unlike anything in training. Look "
            "at some before believing its answers."
            for share, place in shares
        ]
