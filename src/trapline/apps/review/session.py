"""A review as the server holds it: the one truth about what was decided."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from trapline.apps.review.material import Later, Material
from trapline.core import neighbours
from trapline.formats.correction_log import CorrectionLog, Decision
from trapline.formats.corrections import UNDO

SORTS = {
    "order": ([], []),
    "issue score, highest first": (["issue_score"], [True]),
    "score, lowest first": (["score"], [False]),
    "score, highest first": (["score"], [True]),
    "label": (["now", "score"], [False, False]),
    "location and time": (["location", "captured_at"], [False, False]),
    "file": (["image_id"], [False]),
}
FILTERS = ("now", "split", "location", "predicted", "decision")
MANY_NEIGHBOURS, LONGEST_BURST, KEPT_VIEWS = 12, 60, 20
NOWHERE = "(none)"


class Refused(Exception):
    """A request that makes no sense; `str()` says why."""


@dataclass(frozen=True)
class Query:
    """Which rows, in which order. An empty filter lets everything pass.

    Args:
        view: Names one look at the rows: while it lasts they stay where they are, though decisions would move them.
    """

    filters: dict[str, str] = field(default_factory=dict)
    issue: str = ""
    sort: str = "order"
    view: str = ""

    def __hash__(self) -> int:
        return hash((tuple(sorted(self.filters.items())), self.issue, self.sort, self.view))


class Session:
    """Rows, what was decided about them, and where that is written.

    Args:
        who: Who decides, for corrections.csv.
        now: The clock.
    """

    def __init__(self, material: Material, who: str, now: Callable[[], datetime] = lambda: datetime.now(UTC)):
        self.material, self.who, self.now = material, who, now
        self.made = 0
        self.version = 0
        self._lock = threading.RLock()
        self._log = CorrectionLog(material.corrections)
        rows = material.rows
        self._rows_of: dict[str, list[int]] = {}
        for row, box in enumerate(rows["box_id"]):
            self._rows_of.setdefault(box, []).append(row)
        self._first = rows["label"].to_list()
        self._actions: list[str] = [""] * rows.height
        self._labels = list(self._first)
        self._standing: dict[str, list[Decision]] = {}
        self._changes: list[int] = []  # a row per change; its place is the version
        self._undo: dict[str, list[list[Decision]]] = {}
        self._matched: OrderedDict[Query, list[int]] = OrderedDict()
        self._spoken: set[str] = set()
        self.sync()

    # -- looking ---------------------------------------------------------------------------------------------------

    def sync(self) -> None:
        """Take in what others appended to corrections.csv."""
        with self._lock:
            for decision in self._log.news():
                self._apply(decision)

    def labels(self) -> list[str]:
        """Labels that a box can be given: those of the material first, then those that a person brought in."""
        with self._lock:
            return [*self.material.labels, *sorted(self._spoken - set(self.material.labels))]

    def options(self) -> dict[str, list[tuple[str, int]]]:
        """Values of every filter with how many rows have them."""
        frame = self._frame()
        found = {}
        for name in FILTERS:
            counts = frame.group_by(pl.col(name).fill_null("").alias("value")).len().sort("value")
            found[name] = [(value or NOWHERE, n) for value, n in counts.iter_rows()]
        kinds = frame.select(pl.col("issues").explode().alias("value")).drop_nulls().group_by("value").len()
        found["issue"] = list(kinds.sort("value").iter_rows())
        return found

    def page(self, query: Query, offset: int, limit: int) -> dict[str, Any]:
        """`limit` rows from `offset` on, and how many there are in all."""
        with self._lock:
            rows = self._matching(query)
            return {
                "total": len(rows), "version": self.version,
                "rows": [self.brief(row) for row in rows[offset : offset + limit]],
            }  # fmt: skip

    def brief(self, row: int) -> dict[str, Any]:
        """A row as the grid shows it."""
        shown = self.material.rows.row(row, named=True)
        names = ("crop_id", "split", "location", "captured_at", "predicted", "score", "issues", "failure", "image_id")
        return {
            "row": row, "label": self._labels[row], "first": self._first[row], "action": self._actions[row],
            **{name: shown[name] for name in names},
        }  # fmt: skip

    def detail(self, row: int) -> dict[str, Any]:
        """A row as the single view shows it: with its burst and what looks like it."""
        self._check(row)
        alike = self.neighbours(row)  # before the lock: its features may still be on their way
        embedded = self._features() is not None
        with self._lock:
            shown = self.material.rows.row(row, named=True)
            return {
                **self.brief(row),
                "evidence": shown["evidence"],
                "burst": [self.brief(other) for other in self.burst(row)],
                "neighbours": [{**self.brief(other), "alike": round(cosine, 3)} for other, cosine in alike],
                "history": [d.cells() for d in self._standing.get(shown["box_id"], [])],
                "embedded": embedded,
            }

    def burst(self, row: int) -> list[int]:
        """Rows of the same sequence, in time; at least the row itself."""
        sequence, location = self.material.rows.row(row, named=True)["sequence"], self.material.rows["location"][row]
        if sequence is None:
            return [row]
        same = (pl.col("sequence") == sequence) & pl.col("location").eq_missing(location)
        found = self.material.rows.with_row_index("row").filter(same).sort("captured_at", "image_id", "row")["row"]
        rows = found.to_list()
        if len(rows) > LONGEST_BURST:
            here = max(rows.index(row) - LONGEST_BURST // 2, 0)
            rows = rows[here : here + LONGEST_BURST]
        return rows

    def neighbours(self, row: int) -> list[tuple[int, float]]:
        features = self._features()
        return [] if features is None else neighbours.nearest(features, row, MANY_NEIGHBOURS)

    def changes(self, since: int) -> dict[str, Any]:
        """Rows that changed after version `since`."""
        self.sync()
        with self._lock:
            rows = sorted(set(self._changes[max(since, 0) :]))
            return {"version": self.version, "rows": [self.brief(row) for row in rows], "decided": self.decided()}

    def decided(self) -> int:
        return sum(1 for standing in self._standing.values() if standing)

    # -- deciding --------------------------------------------------------------------------------------------------

    def decide(self, rows: Sequence[int], action: str, to: str, tab: str) -> dict[str, Any]:
        """Append a decision for every row; on disk when this returns."""
        if action not in ("accept", "relabel", "exclude", "unsure"):
            raise Refused(f"there is no action {action!r}")
        to = to.strip()
        if action == "relabel" and not to:
            raise Refused("relabel without a label")
        if any(ord(char) < 32 for char in to) or len(to) > 200:
            raise Refused("a label is one line of at most 200 characters")
        with self._lock:
            decisions = [self._decision(row, action, to if action == "relabel" else "") for row in self._boxes(rows)]
            self._write(decisions)
            self._undo.setdefault(tab, []).append(decisions)
            return self._told(decisions)

    def undo(self, tab: str) -> dict[str, Any]:
        """Take back the last decision (with its burst) of a tab, where it still stands."""
        with self._lock:
            self.sync()
            while groups := self._undo.get(tab):
                last = groups.pop()
                if standing := [d for d in last if (self._standing.get(d.box_id) or [None])[-1] == d]:
                    taken = [self._taking_back(d) for d in standing]
                    self._write(taken)
                    return self._told(taken)
            return {"version": self.version, "rows": [], "decided": self.decided()}

    def undo_row(self, row: int) -> dict[str, Any]:
        """Take back the last decision about a row, whoever made it."""
        with self._lock:
            self.sync()
            self._check(row)
            standing = self._standing.get(self.material.rows["box_id"][row])
            taken = [self._taking_back(standing[-1])] if standing else []
            if taken:
                self._write(taken)
            return self._told(taken)

    # -- within ----------------------------------------------------------------------------------------------------

    def _features(self) -> NDArray[np.float32] | None:
        found = self.material.features
        return found() if isinstance(found, Later) else found

    def _check(self, row: int) -> None:
        if not 0 <= row < self.material.rows.height:
            raise Refused(f"there is no row {row}")

    def _boxes(self, rows: Sequence[int]) -> list[int]:
        """One row per box."""
        for row in rows:
            self._check(row)
        return list({self.material.rows["box_id"][row]: row for row in rows}.values())

    def _stamp(self) -> str:
        return self.now().isoformat(timespec="milliseconds")

    def _decision(self, row: int, action: str, to: str) -> Decision:
        image, box = self.material.rows["image_id"][row], self.material.rows["box_id"][row]
        return Decision(image, box, action, self._labels[row], to, self.who, self._stamp())

    def _taking_back(self, decision: Decision) -> Decision:
        now = decision.to if decision.action == "relabel" else decision.from_label
        return replace(decision, action=UNDO, from_label=now, to=decision.from_label, who=self.who, when=self._stamp())

    def _write(self, decisions: Sequence[Decision]) -> None:
        for decision in self._log.append(decisions):
            self._apply(decision)
        self.made += len(decisions)

    def _told(self, decisions: Sequence[Decision]) -> dict[str, Any]:
        rows = sorted({row for d in decisions for row in self._rows_of.get(d.box_id, [])})
        return {"version": self.version, "rows": [self.brief(row) for row in rows], "decided": self.decided()}

    def _apply(self, decision: Decision) -> None:
        rows = self._rows_of.get(decision.box_id)
        if rows is None:
            return
        standing = self._standing.setdefault(decision.box_id, [])
        if decision.action != UNDO:
            standing.append(decision)
        elif standing:
            standing.pop()
        last = standing[-1] if standing else None
        for row in rows:
            self._actions[row] = last.action if last else ""
            if last and last.action == "relabel":
                self._labels[row] = last.to
            else:
                self._labels[row] = last.from_label if last and last.from_label else self._first[row]
            self._changes.append(row)
        if decision.action == "relabel":
            self._spoken.add(decision.to)
        self.version = len(self._changes)

    def _frame(self) -> pl.DataFrame:
        with self._lock:
            return self.material.rows.with_columns(
                now=pl.Series(self._labels, dtype=pl.String),
                decision=pl.Series(self._actions, dtype=pl.String),
            )

    def _matching(self, query: Query) -> list[int]:
        if query.view and query in self._matched:
            self._matched.move_to_end(query)
            return self._matched[query]
        frame = self._frame().with_row_index("row")
        for name, value in query.filters.items():
            if name not in FILTERS:
                raise Refused(f"there is no filter {name!r}")
            frame = frame.filter(pl.col(name).fill_null("") == ("" if value == NOWHERE else value))
        if query.issue:
            frame = frame.filter(pl.col("issues").list.contains(query.issue))
        if query.sort not in SORTS:
            raise Refused(f"there is no order {query.sort!r}")
        by, descending = SORTS[query.sort]
        if query.issue and not by:
            by, descending = SORTS["issue score, highest first"]
        if by:
            frame = frame.sort(*by, descending=descending, nulls_last=True, maintain_order=True)
        rows = frame["row"].to_list()
        self._matched[query] = rows
        while len(self._matched) > KEPT_VIEWS:
            self._matched.popitem(last=False)
        return rows
