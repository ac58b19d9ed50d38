"""decide: scores of boxes into what a field team works with: answers, bursts, a review list, counts, histories."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from trapline.core import events, gain
from trapline.core.allowed import MOST_REMOVED, Allowed
from trapline.core.answering import Judged, judge
from trapline.core.config import DecideConfig
from trapline.core.log import Log
from trapline.core.metrics import Floats, Ints, Real
from trapline.core.places import bursts
from trapline.core.rollup import LABEL, UNSURE, Ladder
from trapline.core.schemas import ANSWERS, REVIEW, SEQUENCE_ANSWERS

FIRST = 3  # answers that a sentence names


@dataclass(frozen=True)
class Decisions:
    """What is known of a prediction.

    Args:
        answers: ANSWERS rows, a row per row of the scores, in their order.
        sequences: SEQUENCE_ANSWERS rows.
        review: REVIEW rows.
        counts: COUNTS rows.
        history: label, level, location_id, and a column per occasion: 1, 0, or null where no camera ran.
        effort: location_id, and the days that its camera ran in each occasion.
    """

    answers: pl.DataFrame
    sequences: pl.DataFrame
    review: pl.DataFrame
    counts: pl.DataFrame
    history: pl.DataFrame
    effort: pl.DataFrame


def decide(
    scores: pl.DataFrame,
    cfg: DecideConfig,
    *,
    steps: Ladder,
    least: Real,
    allowed: Allowed | None = None,
    deployments: pl.DataFrame | None = None,
    log: Log,
) -> Decisions:
    """Turn calibrated probabilities of boxes into answers, and answers into what is made of them.

    Args:
        scores: DETECTION_SCORES rows; perhaps with `unlike` (whether the box is unlike anything in training).
        steps: The answers there are: labels, and taxa of a taxonomy.
        least: (A,) their thresholds; infinite for answers that are never sure.
        allowed: Which labels can be true where.
        deployments: location_id, first, last: days that cameras ran. Default: from first to last image.
    """
    known = _with_sequences(scores, cfg.sequence_gap_s)
    usable = known.filter(pl.col("left_out").is_null()).sort("location_id", "sequence", "row", nulls_last=True)
    left_out = dict(known["left_out"].drop_nulls().value_counts().iter_rows())
    log.account("boxes and images", scores.height, "answers", usable.height, left_out)
    number = usable["sequence"].rle_id().cast(pl.Int64).to_numpy()
    matrix = usable["scores"].to_numpy() if usable.height else np.zeros((0, len(steps.labels)), np.float32)
    lists = allowed.of(usable["location_id"]) if allowed is not None else None
    judged = judge(matrix, number, steps, least, rule=cfg.sequence_rule, lists=lists)
    boxes = _boxes(usable.drop("scores"), number, judged, steps)
    if lists is not None:
        _tell_allowed(boxes, lists[0] == len(lists[1]) - 1, log)
    review = gain.rank(boxes).with_columns(label="likeliest", conf=pl.col("first_p").cast(pl.Float64))
    records = _records(boxes, cfg)
    periods = events.running(known, deployments)
    starts = events.occasions(periods, cfg.occasion_days)
    ran = events.effort(periods, starts, cfg.occasion_days)
    _tell(boxes, records, review.height, log)
    return Decisions(
        answers=_answers(known, boxes, listed=lists is not None),
        sequences=_sequences(boxes, judged, steps),
        review=REVIEW.check(review.select(list(REVIEW.columns))),
        counts=events.count(records),
        history=events.history(records.filter(pl.col("label") != UNSURE), ran, cfg.occasion_days),
        effort=events.wide_effort(ran),
    )


def _with_sequences(scores: pl.DataFrame, gap_s: float) -> pl.DataFrame:
    """Rows with their number, `sequence` (given, or by time), `unlike`, and in `left_out` why they have no answer.

    A sequence lies at one location: of a name that several use, each has its own.
    """
    if "unlike" not in scores.columns:
        scores = scores.with_columns(unlike=pl.lit(None, pl.Boolean))
    images = scores.select("file", "captured_at", "location_id").unique("file", keep="first", maintain_order=True)
    images = images.select(
        "captured_at", image_id="file", dataset=pl.lit(""), place=pl.col("location_id").cast(pl.String)
    )
    found = images.select(file="image_id", burst=bursts(images, gap_s))
    several = pl.col("location_id").n_unique().over("sequence_id") > 1
    given = pl.when(several).then(pl.format("{}/{}", pl.col("location_id").fill_null(""), "sequence_id"))
    known = scores.with_row_index("row").join(found, on="file", how="left", maintain_order="left")
    known = known.with_columns(sequence=pl.coalesce(given, "sequence_id", "burst"))
    numbers = pl.col("scores").arr.sum().is_finite() if isinstance(scores.schema["scores"], pl.Array) else pl.lit(True)
    return known.with_columns(
        left_out=pl.when(pl.col("failure").is_not_null())
        .then(pl.lit("that could not be read"))
        .when(pl.col("scores").is_null())
        .then(pl.lit("images without a box"))
        .when(~numbers)
        .then(pl.lit("with scores that are not numbers"))
    )


def _boxes(usable: pl.DataFrame, number: Ints, judged: Judged, steps: Ladder) -> pl.DataFrame:
    """The usable rows in the order of `judged`, with all that was found."""
    names, levels = pl.Series(steps.names, dtype=pl.String), pl.Series(steps.levels, dtype=pl.String)
    labels = pl.Series(steps.labels, dtype=pl.String)

    def real(values: Floats) -> pl.Series:
        return pl.Series(values, dtype=pl.Float64)

    found = usable.rename({"sequence": "sequence_name"}).with_columns(
        sequence=pl.Series(number, dtype=pl.Int64),
        answer=names[judged.within.number],
        level=levels[judged.within.number],
        confidence=real(judged.within.confidence),
        box_answer=names[judged.alone.number],
        box_level=levels[judged.alone.number],
        box_confidence=real(judged.alone.confidence),
        likeliest=labels[judged.likeliest],
        likeliest_confidence=real(judged.first_p),
        first_p=real(judged.first_p),
        second=labels[judged.second],
        second_p=real(judged.second_p),
        burst_likeliest=labels[judged.burst_likeliest[number]],
        burst_answer=names[judged.burst.number[number]],
        removed=real(judged.removed),
    )
    doubtful = pl.col("unlike").fill_null(False) | (pl.col("removed") > MOST_REMOVED)
    return found.with_columns(needs_person=(pl.col("answer") == UNSURE) | doubtful)


def _answers(known: pl.DataFrame, boxes: pl.DataFrame, *, listed: bool) -> pl.DataFrame:
    """ANSWERS rows in the order of the scores."""
    own = [name for name in ANSWERS.columns if name in boxes.columns and name not in known.columns]
    rows = known.join(boxes.select("row", *own), on="row", how="left", maintain_order="left")
    if not listed:
        rows = rows.with_columns(removed=pl.lit(None, pl.Float64))
    rows = rows.with_columns(sequence_id="sequence", detection_conf="conf")
    return ANSWERS.check(rows.select(list(ANSWERS.columns)))


def _sequences(boxes: pl.DataFrame, judged: Judged, steps: Ladder) -> pl.DataFrame:
    """SEQUENCE_ANSWERS rows."""
    at_once = boxes.group_by("sequence", "file").agg(boxes=pl.len()).group_by("sequence").agg(pl.col("boxes").max())
    other = pl.col("answer").filter(pl.col("answer") != pl.col("burst_answer"))
    found = (
        boxes.group_by("sequence")
        .agg(
            sequence_id=pl.col("sequence_name").first(),
            location_id=pl.col("location_id").first(),
            start=pl.col("captured_at").min(),
            end=pl.col("captured_at").max(),
            images=pl.col("file").n_unique().cast(pl.Int64),
            boxes=pl.len().cast(pl.Int64),
            agreement=(pl.col("likeliest") == pl.col("burst_likeliest")).mean(),
            others=other.unique().sort().str.join("; "),
        )
        .join(at_once.rename({"boxes": "most_at_once"}), on="sequence")
        .sort("sequence")
    )
    names, levels = pl.Series(steps.names, dtype=pl.String), pl.Series(steps.levels, dtype=pl.String)
    return SEQUENCE_ANSWERS.check(
        found.with_columns(
            pl.col("most_at_once").cast(pl.Int64),
            answer=names[judged.burst.number],
            level=levels[judged.burst.number],
            confidence=pl.Series(judged.burst.confidence, dtype=pl.Float64),
        ).select(list(SEQUENCE_ANSWERS.columns))
    )


def _records(boxes: pl.DataFrame, cfg: DecideConfig) -> pl.DataFrame:
    """A row per sequence and answer in it, with the number of its event; labels that mean no animal are left out."""
    kept = boxes.filter(~pl.col("answer").is_in(list(cfg.not_counted)))
    per_image = kept.group_by("sequence", "answer", "level", "file").agg(
        pl.col("location_id").first(), pl.col("captured_at").first(), boxes=pl.len().cast(pl.Int64)
    )
    records = per_image.group_by("sequence", label="answer", level="level").agg(
        pl.col("location_id").first(),
        start=pl.col("captured_at").min(),
        end=pl.col("captured_at").max(),
        images=pl.len().cast(pl.Int64),
        boxes=pl.col("boxes").sum(),
        most_at_once=pl.col("boxes").max(),
    )
    return events.number_events(records.sort("sequence", "label", "level"), cfg.independent_min)


def _tell_allowed(boxes: pl.DataFrame, unnamed: NDArray[np.bool_], log: Log) -> None:
    touched = boxes.filter(pl.col("removed") > 0.01)
    most = boxes.filter(pl.col("removed") > MOST_REMOVED)
    log.note(
        f"allowed labels: {touched.height:,} of {boxes.height:,} boxes lost more than 1% of their probability to "
        f"labels that are not allowed where they are; {most.height:,} lost more than half, and are left to a person."
    )
    if unnamed.any():
        places = boxes.filter(pl.Series(unnamed))["location_id"]
        log.warn(
            f"{int(unnamed.sum()):,} boxes are at {places.n_unique():,} locations (first: {places[0]}) that the list "
            "of allowed labels does not name: everything is allowed there."
        )


def _tell(boxes: pl.DataFrame, records: pl.DataFrame, to_review: int, log: Log) -> None:
    """What came out, in a few lines."""
    if not boxes.height:
        return
    level = boxes["level"]
    taxa = boxes.filter(~pl.col("level").is_in(["", LABEL]))["answer"].value_counts(sort=True).head(FIRST)
    examples = ", ".join(f"{n:,} {name}" for name, n in taxa.iter_rows())
    log.note(
        f"{boxes.height:,} boxes in {boxes['sequence'].n_unique():,} sequences: {(level == LABEL).mean():.0%} have a "
        f"label, {(~level.is_in(['', LABEL])).mean():.0%} a taxon{f' ({examples})' if examples else ''}, "
        f"{(level == '').mean():.0%} are unsure; {boxes['needs_person'].mean():.0%} need a person, {to_review:,} are "
        "on the review list."
    )
    untimed = boxes.filter(pl.col("captured_at").is_null())
    if untimed.height:
        log.warn(
            f"{untimed['file'].n_unique():,} images have no time (first: {untimed['file'][0]}): each is a sequence and "
            "an event of its own, none is in the detection history. Name a CSV of path,datetime as --images-table."
        )
    unplaced = boxes.filter(pl.col("location_id").is_null())
    if unplaced.height:
        log.warn(
            f"{unplaced['file'].n_unique():,} images have no location (first: {unplaced['file'][0]}): they are in no "
            "detection history. Name a CSV of path,location as --images-table."
        )
    log.note(f"{records['event'].n_unique():,} independent events.")
