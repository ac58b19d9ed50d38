"""Figures in words: percentages, intervals, the headline and what a reader should keep in mind."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

DASH = "–"
SPLIT_WORDS = {
    "test": "Locations never seen (test)",
    "seen": "Locations seen in training, other crops",
    "val": "Locations that chose the best epoch (val)",
    "train": "Crops that were learned from (train)",
}
OF_OTHERS = {
    "test": "Locations of test",
    "seen": "Other crops of the training locations",
    "val": "Locations of val",
    "train": "Locations of train",
}
HELD_OUT = {"test": "it had never seen", "val": "that chose the best epoch (validation)"}


@dataclass(frozen=True)
class Cell:
    """One figure of the metrics table; `value` is None where undefined, and `reason` says why."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    support: int = 0
    reason: str | None = None

    @property
    def text(self) -> str:
        """As in "74%", or a dash."""
        return percent(self.value)

    @property
    def interval(self) -> str:
        """As in "68–80%", or nothing."""
        return interval(self.low, self.high)

    @property
    def words(self) -> str:
        """For alternative texts: "74%, 95% interval 68–80%", or why there is no value."""
        if self.value is None:
            return self.reason or "not defined"
        return f"{self.text}, 95% interval {self.interval}" if self.interval else self.text


class Figures:
    """The metrics table, looked up by split, name, label and group."""

    def __init__(self, metrics: pl.DataFrame):
        columns = ("split", "name", "label", "group_kind", "group_value", "value", "low", "high", "support", "reason")
        self._cells = {row[:5]: Cell(*row[5:]) for row in metrics.select(columns).iter_rows()}

    def __call__(self, split: str, name: str, label: str = "", kind: str = "", group: str = "") -> Cell:
        return self._cells.get((split, name, label, kind, group), Cell())

    def count(self, split: str, name: str, label: str = "") -> int:
        """A count such as crops, groups or labels."""
        return int(self(split, name, label).value or 0)

    def groups(self, split: str, kind: str) -> list[tuple[str, Cell]]:
        """The accuracies of a split's locations or lights."""
        wanted = (split, "accuracy", "", kind)
        return [(key[4], cell) for key, cell in self._cells.items() if key[:4] == wanted]


def percent(share: float | None) -> str:
    """A share as a whole percentage; one decimal where rounding would claim all or nothing."""
    if share is None:
        return DASH
    whole = f"{100 * share:.0f}"
    if (whole == "100" and share < 1) or (whole == "0" and share > 0):
        tenth = f"{100 * share:.1f}"
        return {"100.0": ">99.9%", "0.0": "<0.1%"}.get(tenth, f"{tenth}%")
    return f"{whole}%"


def interval(low: float | None, high: float | None) -> str:
    """Two shares as "68–80%"."""
    return "" if low is None or high is None else f"{100 * low:.0f}{DASH}{100 * high:.0f}%"


def count(number: int, one: str, many: str = "") -> str:
    """As in "1 location" and "1,204 crops"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def judged_split(figures: Figures) -> str | None:
    """The split that the page is about: test, else val, else what was seen; None without any scored crop."""
    return next((name for name in ("test", "val", "seen", "train") if figures.count(name, "crops")), None)


def headline(figures: Figures, split: str | None, other: str = "") -> str:
    """The result in one sentence that a biologist can quote.

    Args:
        other: Name of a classifier that trapline did not train, of which it is not known what it has seen.
    """
    if split is None:
        return "No crop could be scored, so nothing is known about this classifier."
    if split not in HELD_OUT:
        return "No crop of a held-out location could be scored, so it is not known how the classifier does elsewhere."
    recall = figures(split, "macro_recall")
    locations = figures.count(split, "groups")
    which = "it was tried at" if other else HELD_OUT[split]
    where = f"At the {count(locations, 'location')} {which}" if locations > 1 else f"At the one location {which}"
    who = other or "the classifier"
    together = recall.interval.replace(DASH, f"\u2060{DASH}\u2060")  # no line break inside the interval
    sure = f"95% interval {together}" if together else recall.reason or "no interval"
    labels = figures.count(split, "labels")
    if labels == 1:
        return (
            f"{where}, {who} named {recall.text} of the crops right ({sure}); "
            "they are all of one label, so this says little."
        )
    chance = figures(split, "chance_macro_recall").text
    prefix = "" if split == "test" or other else "No test crop could be scored. "
    return (
        f"{prefix}{where}, {who} named {recall.text} of each label’s crops right on average "
        f"({sure}); guessing would give {chance}."
    )


def of_another(other: str) -> list[str]:
    """What is not known of a classifier that trapline did not train; nothing for its own."""
    if not other:
        return []
    return [
        f"{other} was not trained by trapline: whether it has seen these locations, or these very images, is not known "
        "here. If it has, it will do worse at new ones."
    ]


def cross_validated(turns: int) -> list[str]:
    """How the figures of a cross-validation came about; nothing for a single classifier."""
    if not turns:
        return []
    return [
        f"Cross-validated: {turns} classifiers were trained alike, and every location was scored by the one that had "
        "not seen it. The learning curves are the first one's."
    ]


def fitted(calibration: Mapping[str, object]) -> str:
    """How scores were calibrated, in one sentence; empty where nothing is known."""
    method, reason, on = (calibration.get(name) for name in ("method", "reason", "fitted_on"))
    if method == "none":
        return f"The scores are not calibrated: {reason}." if reason else "The scores are not calibrated."
    if method not in ("temperature", "vector"):
        return ""
    crops = on.get("crops") if isinstance(on, Mapping) else None
    some = f" ({crops:,} crops)" if isinstance(crops, int) else ""
    how = {"temperature": "temperature scaling", "vector": "vector scaling"}[str(method)]
    return f"Calibrated by {how}, fitted on val only{some}."


def keep_in_mind(
    figures: Figures, split: str | None, labels: Sequence[str], left_out: int, other: str = ""
) -> list[str]:
    """What limits the headline: missing labels, few locations, the gap to seen locations, crops left out.

    Args:
        other: As in `headline`; of such a classifier nothing is said about what it has seen.
    """
    notes: list[str] = []
    if split is None:
        return notes
    absent = [label for label in labels if not figures(split, "recall", label).support]
    if absent:
        notes.append(
            f"{count(len(absent), 'label')} of {len(labels)} {'is' if len(absent) == 1 else 'are'} absent from {split} "
            f"and not in the average: {', '.join(absent[:12])}{' …' if len(absent) > 12 else ''}."
        )
    few = [label for label in labels if 0 < figures.count(split, "groups", label) < 3]
    if few:
        notes.append(
            f"{count(len(few), 'label')} {'rests' if len(few) == 1 else 'rest'} on one or two {split} locations, so "
            f"{'its' if len(few) == 1 else 'their'} figures say little about others: "
            f"{', '.join(few[:12])}{' …' if len(few) > 12 else ''}."
        )
    locations = figures.count(split, "groups")
    if figures(split, "macro_recall").low is None:
        notes.append(
            f"No interval is given: {count(locations, 'location')} of {split} "
            f"{'tells' if locations == 1 else 'tell'} too little about other locations (10 are needed)."
        )
    seen, gap = figures("seen", "macro_recall"), figures("test", "gap_macro_recall")
    if not other and seen.value is not None and gap.value is not None and round(100 * gap.value) > 0:
        sure = "" if gap.low is None or gap.high is None else (
            f" (95% interval {100 * gap.low:.0f} to {100 * gap.high:.0f})"
        )  # fmt: skip
        notes.append(
            f"At locations it was trained on it gets {seen.text} (other crops of them): over the labels found at both, "
            f"{count(round(100 * gap.value), 'point')} more than at new ones{sure}. Images of more locations usually "
            "help more than more images of these."
        )
    if left_out:
        notes.append(f"{count(left_out, 'crop')} could not be counted; the reasons stand below.")
    return notes
