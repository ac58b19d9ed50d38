"""All that evaluate says of one split: figures, reliability, what the thresholds give, and a row per crop."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from trapline.core import breakdown, calibration, reliability, scorecard, sequences, taxonomy, thresholds
from trapline.core.calibration import Calibration
from trapline.core.intervals import FEW_GROUPS
from trapline.core.metrics import Floats
from trapline.core.reliability import Reliability
from trapline.core.scorecard import Figure, Named, Scored
from trapline.core.sequences import Rule
from trapline.core.taxonomy import Level
from trapline.core.thresholds import Kept

HOURS = tuple(f"{hour:02d}" for hour in range(24))
LIGHTS = ("day", "infrared")
ECE_BIAS = "no interval: calibration errors are biased upwards where crops are few; compare with its floor"


@dataclass(frozen=True)
class Assessment:
    """One split.

    Args:
        cards: The figures of all its crops.
        metrics: Those and all others, as METRICS rows without checkpoint_id.
        scored: SCORED rows.
        reliability, thresholds, curves: RELIABILITY, THRESHOLDS, THRESHOLD_CURVES rows.
        confusion: (L, L) rows true.
        named: Its crops with the labels they were given, for `scorecard.gaps`.
    """

    cards: Sequence[Figure]
    metrics: Sequence[dict[str, object]]
    scored: pl.DataFrame
    reliability: Sequence[dict[str, object]]
    thresholds: Sequence[dict[str, object]]
    curves: pl.DataFrame | None
    confusion: NDArray[np.int64]
    named: Named


def assess(
    rows: pl.DataFrame,
    scored: Scored,
    known: Calibration,
    *,
    top_k: Sequence[int],
    majority: int,
    levels: Sequence[Level],
    rule: Rule,
) -> Assessment:
    """Judge one split.

    Args:
        rows: crop_id, group_id, location, camera, hour, light, sequence (null: of none), label of its crops, with those
            of one sequence together.
        scored: The same crops.
        known: Fitted on val, with thresholds.
        top_k: The k of top-k accuracy.
        majority: The label most common in train.
        levels: Of the taxonomy, if one is given.
        rule: How the crops of a sequence are joined.
    """
    split, labels, named = scored.split, scored.labels, scored.named
    raw = scorecard.scorecard(scored, top_k, majority)
    found = _reliability(scored)
    table = [_row(split, "", "", figure) for figure in [*raw, *_ece(scored, found, "")]]
    bins = _bins(split, found, "raw")
    for level in levels:
        table += [_row(split, "level", level.name, figure) for figure in _at_level(scored, level)]
    table += _by_part(rows, named)
    if known.method == "none":
        better = scored  # the very same: what is known of it is not computed again
        table += [_row(split, "", "", figure) for figure in _without(raw, known)]
    else:
        better = replace(scored, scores=calibration.apply(known, scored.scores))
        figures = [replace(figure, name=f"{figure.name}_calibrated") for figure in scorecard.headline(better.named)]
        found = _reliability(better)
        figures += [*scorecard.losses(better, "_calibrated"), *_ece(better, found, "_calibrated")]
        table += [_row(split, "", "", figure) for figure in figures]
        bins += _bins(split, found, "calibrated")
    burst = _sequences(rows, better, rule)
    table += [_row(split, "unit", "sequence", figure) for figure in _of_sequences(scored, burst)]
    kept = kept_crops(better)
    enough = calibration.thresholds_of(known)
    return Assessment(
        cards=raw,
        metrics=table,
        scored=_crops(rows, scored, better, burst, kept.above(enough)),
        reliability=bins,
        thresholds=_outcomes(split, kept, enough, known),
        curves=_curves(split, kept, labels) if split in ("val", "test") else None,
        confusion=named.confusion,
        named=named,
    )


def kept_crops(scored: Scored) -> Kept:
    """Labels and confidences of (calibrated) scores, for thresholds."""
    named = scored.named
    return Kept(named.predicted, _top(scored), named.right, scored.group, len(scored.labels))


def _row(split: str, kind: str, value: str, figure: Figure) -> dict[str, object]:
    return {"split": split, "group_kind": kind, "group_value": value, **vars(figure)}


def _top(scored: Scored) -> Floats:
    """(n,) score of the label that each crop was given."""
    return scored.scores[np.arange(len(scored.truth)), scored.named.predicted]


def _reliability(scored: Scored) -> Reliability:
    return reliability.reliability(_top(scored), scored.named.right, scored.group)


def _ece(scored: Scored, found: Reliability, suffix: str) -> list[Figure]:
    crops = len(scored.truth)
    reason = ECE_BIAS if crops else scorecard.NO_CROPS
    value, floor = (None if np.isnan(number) else number for number in (found.ece, found.floor))
    return [
        Figure(f"ece{suffix}", "", value, None, None, crops, reason),
        Figure(f"ece{suffix}_floor", "", floor, None, None, crops, None if crops else reason),
    ]


def _without(raw: Sequence[Figure], known: Calibration) -> list[Figure]:
    """The figures of calibrated scores where there are none: null, with the reason."""
    names = ("macro_recall", "accuracy", "log_loss", "macro_log_loss", "brier", "macro_brier", "ece")
    crops = raw[0].support
    return [Figure(f"{name}_calibrated", "", None, None, None, crops, f"not calibrated: {known.reason}")
            for name in names]  # fmt: skip


def _bins(split: str, found: Reliability, scores: str) -> list[dict[str, object]]:
    return [
        {
            "split": split,
            "scores": scores,
            "bin": int(found.bin[n]),
            "crops": int(found.crops[n]),
            "confidence": float(found.confidence[n]),
            "accuracy": float(found.accuracy[n]),
            "low": _null(found.low[n]),
            "high": _null(found.high[n]),
            "reason": FEW_GROUPS if np.isnan(found.low[n]) else None,
        }
        for n in range(len(found.bin))
    ]


def _at_level(scored: Scored, level: Level) -> list[Figure]:
    """macro_recall, accuracy, macro_f1, labels, and recall, precision and f1 of every taxon."""
    if not len(scored.truth):
        return []
    predicted = taxonomy.predicted_at(level, scored.scores)
    named = Named(level.of[scored.truth], predicted, scored.group, level.taxa, scored.split)
    averages, each = scorecard.naming(named.tally)
    labels = scorecard.plain("labels", float((named.support > 0).sum()), len(named.truth))
    return [*scorecard.headline(named), *(figure for figure in averages if figure.name == "macro_f1"), labels, *each]


def _by_part(rows: pl.DataFrame, named: Named) -> list[dict[str, object]]:
    """Rows per location, camera, hour and light."""
    if not rows.height:
        return []
    table = []
    for kind, reason in (("location", breakdown.ONE_LOCATION), ("camera", breakdown.ONE_CAMERA)):
        names, numbers = np.unique(rows[kind].to_numpy(), return_inverse=True)
        for name, figures in zip(names, breakdown.places(named, numbers, len(names), reason), strict=True):
            table += [_row(named.split, kind, str(name), figure) for figure in figures]
    light = rows["light"].replace_strict(dict(zip(LIGHTS, range(2), strict=True)), default=-1, return_dtype=pl.Int64)
    for kind, numbers, names in (
        ("hour", rows["hour"].fill_null(-1).to_numpy(), HOURS),
        ("light", light.fill_null(-1).to_numpy(), LIGHTS),
    ):
        for name, figures in breakdown.parts(named, numbers, names):
            table += [_row(named.split, kind, name, figure) for figure in figures]
    return table


def _sequences(rows: pl.DataFrame, scored: Scored, rule: Rule) -> sequences.Sequences:
    """Crops of no sequence are one each."""
    alone = pl.format("alone {}", pl.int_range(pl.len()))
    number = rows.select(pl.coalesce(pl.format("of {}", "sequence"), alone).rle_id())[:, 0].cast(pl.Int64)
    return sequences.aggregate(scored.scores, scored.truth, scored.group, number.to_numpy(), rule)


def _of_sequences(scored: Scored, burst: sequences.Sequences) -> list[Figure]:
    """Figures of whole sequences, and of crops that are each given their sequence's label."""
    single = burst.truth >= 0
    count = len(burst.truth)
    counts = [
        scorecard.plain("sequences", count, count),
        scorecard.plain("mixed", int((~single).sum()), count),
    ]
    everything = Named(burst.truth, burst.predicted, burst.group, scored.labels, scored.split, "sequences")
    named = everything.part(single)
    averages, each = scorecard.naming(named.tally)
    given = Named(scored.truth, burst.predicted[burst.of], scored.group, scored.labels, scored.split)
    crops = [replace(figure, name=f"crop_{figure.name}") for figure in scorecard.headline(given)]
    return [*counts, *scorecard.headline(named), *(f for f in averages if f.name == "macro_f1"), *crops, *each]


def _outcomes(split: str, kept: Kept, enough: NDArray[np.float64], known: Calibration) -> list[dict[str, object]]:
    if known.precision is None:
        return []
    found = thresholds.outcome(kept, enough)
    names = [*known.labels, ""]
    rows: list[dict[str, object]] = []
    for n, label in enumerate(names):
        threshold = known.thresholds.get(label)
        why = known.reasons.get(label)
        why = why or thresholds.reason_of(found.precision_low[n], found.precision[n], f"no {split} crops are kept")
        rows.append(
            {
                "split": split,
                "label": label,
                "wished": known.precision,
                "threshold": threshold,
                "named": int(found.named[n]),
                "kept": int(found.kept[n]),
                "precision": _null(found.precision[n]),
                "precision_low": _null(found.precision_low[n]),
                "precision_high": _null(found.precision_high[n]),
                "coverage": _null(found.coverage[n]),
                "coverage_low": _null(found.coverage_low[n]),
                "coverage_high": _null(found.coverage_high[n]),
                "reason": why,
            }
        )
    return rows


def _curves(split: str, kept: Kept, labels: Sequence[str]) -> pl.DataFrame:
    crops, right = thresholds.curves(kept)
    names = [*labels, ""]
    return pl.DataFrame(
        {
            "split": split,
            "label": pl.Series(np.repeat(names, len(thresholds.GRID))),
            "threshold": np.tile(thresholds.GRID, len(names)),
            "kept": crops.ravel(),
            "right": right.ravel(),
        }
    )


def _crops(
    rows: pl.DataFrame,
    scored: Scored,
    better: Scored,
    burst: sequences.Sequences,
    automatic: NDArray[np.bool_],
) -> pl.DataFrame:
    names = pl.Series(scored.labels, dtype=pl.String)
    predicted, confident = scored.named.predicted, better.named.predicted
    return rows.select(
        "crop_id",
        "group_id",
        "location",
        "camera",
        "hour",
        "light",
        "sequence",
        "label",
        split=pl.lit(scored.split),
        predicted=names[predicted],
        score=pl.Series(_top(scored), dtype=pl.Float64),
        true_score=pl.Series(scored.scores[np.arange(len(scored.truth)), scored.truth], dtype=pl.Float64),
        rank=pl.Series(scored.ranks, dtype=pl.Int64),
        calibrated=names[confident],
        confidence=pl.Series(_top(better), dtype=pl.Float64),
        automatic=pl.Series(automatic, dtype=pl.Boolean),
        sequence_predicted=names[burst.predicted[burst.of]],
        sequence_confidence=pl.Series(burst.confidence[burst.of], dtype=pl.Float64),
    )


def _null(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
