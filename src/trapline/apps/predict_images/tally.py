"""What is counted over all pieces of a prediction, and said at its end."""

from dataclasses import dataclass, field

import polars as pl

from trapline.apps.predict_images.given import Given, GivenDetections
from trapline.core.likeness import PlaceShares
from trapline.core.log import Log

DETECTOR = "detector: "  # begins the failure of an image that the detector could not read
MOST_REASONS = 5


@dataclass
class Tally:
    """Counts of boxes and failures.

    Args:
        failed: Images that could not be read or have a box that could not be classified.
    """

    failed: int = 0
    _boxes: int = 0
    _failed_boxes: int = 0
    _reasons: dict[str, int] = field(default_factory=dict)
    _first: dict[str, str] = field(default_factory=dict)
    _shares: PlaceShares = field(default_factory=PlaceShares)

    def add(self, rows: pl.DataFrame) -> None:
        """Count DETECTION_SCORES rows with `unlike`."""
        boxes = rows.filter(pl.col("detection").is_not_null())
        self._boxes += boxes.height
        self._failed_boxes += boxes.filter(pl.col("failure").is_not_null()).height
        failed = rows.filter(pl.col("failure").is_not_null()).unique("file", keep="first", maintain_order=True)
        self.failed += failed.filter(~pl.col("failure").str.starts_with(DETECTOR)).height
        for file, reason in failed.select("file", "failure").iter_rows():
            self._reasons[reason] = self._reasons.get(reason, 0) + 1
            self._first.setdefault(reason, file)
        self._shares.add(rows)

    def tell(self, given: Given, log: Log) -> None:
        """Say it."""
        left_out = dict(given.left_out) if isinstance(given, GivenDetections) else {}
        listed = self._boxes + sum(left_out.values())
        left_out["could not be classified"] = self._failed_boxes
        log.account("boxes", listed, "classified", self._boxes - self._failed_boxes, left_out)
        for reason, n in sorted(self._reasons.items(), key=lambda item: -item[1])[:MOST_REASONS]:
            log.warn(f"{n:,} images: {reason} (first: {self._first[reason]})")
        whole, places = self._shares.words()
        if whole is not None:
            log.note(whole)
        for sentence in places:
            log.warn(sentence)
