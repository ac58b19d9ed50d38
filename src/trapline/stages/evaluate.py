"""evaluate: how good the predictions are, where, how sure that is, and what they save. Needs no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from trapline.core import calibration, schemas, thresholds
from trapline.core.assessment import Assessment, assess, kept_crops
from trapline.core.calibration import Calibration
from trapline.core.config import EvaluateConfig
from trapline.core.errors import TraplineError
from trapline.core.folds import folds_of
from trapline.core.judged import SEEN, SPLITS, LeftOut, join
from trapline.core.log import Log
from trapline.core.metrics import Floats, label_balanced_weights
from trapline.core.scorecard import Scored, gaps, top_ks
from trapline.core.several import Several, names_of, several_scorecard
from trapline.core.taxonomy import levels
from trapline.formats import calibration_json, outputs
from trapline.io import atomic, provenance, runs, tables
from trapline.io.ledger import fingerprint
from trapline.io.places import Place
from trapline.report import card
from trapline.report import several as several_page
from trapline.report.page import Material, render
from trapline.report.split_figure import shares
from trapline.report.wording import count


def evaluate(
    predictions: pl.DataFrame,
    examples: pl.DataFrame,
    splits: pl.DataFrame,
    cfg: EvaluateConfig,
    *,
    taxonomy: Mapping[str, Mapping[str, str]] | None = None,
    run_dir: Path,
    crops_dir: Path | Place,
    log: Log,
) -> pl.DataFrame:
    """Compare predictions with labels, per split, label, place, time, taxon and sequence, and write the run's results.

    The splits are train, val and test; held-back crops of train groups are a fourth, `seen`: locations that were
    trained on, crops that were not. Scores are calibrated, and thresholds chosen, on val alone. Written into `run_dir`,
    each whole or not at all: outputs_{split}.csv.gz, overall_metrics.csv, label_stats.csv, confusion_matrices.npz,
    calibration.json, {metrics, scored, reliability, thresholds, threshold_curves}.parquet, report.html and, if asked
    for, model_card.md (docs/evaluate.md).

    Args:
        predictions: PREDICTIONS rows; scores in the order of the run's labels.
        examples: EXAMPLES rows. Those that cannot be scored are left out, counted by reason.
        splits: SPLITS rows; of a cross-validation all test (core.folds.held_out).
        taxonomy: Level -> label -> taxon, for figures at coarser levels.
        run_dir: A run's folder; its name is the checkpoint_id. Its params.json names the labels.
        crops_dir: Where the crops of the report's pictures lie: a folder (`crops_dir / crop_id`) or another place.

    Returns:
        METRICS rows. `reason` says why a value, or its interval, is null.

    Raises:
        TraplineError: params.json is missing or names other labels than the predictions have.
    """
    params = _read_params(run_dir)
    labels = [str(label) for label in params["labels"]]  # type: ignore[attr-defined]
    several = runs.is_multilabel(params)
    frame, matrix, left_out = join(predictions, examples, splits, labels, several=several)
    _tell(frame, examples.height, left_out, log)
    usable = frame.filter(pl.col("left_out").is_null()).sort("group_id", "sequence", "crop_id")
    if several:
        return _evaluate_several(usable, matrix, left_out, params, labels, cfg, run_dir=run_dir, crops_dir=crops_dir)
    parts = {name: usable.filter(pl.col("split") == name) for name in SPLITS}
    known = _calibrate(_scored(parts["val"], matrix, labels, "val"), cfg, cross_validated=bool(folds_of(splits)))
    majority = _majority(usable, labels)
    found: dict[str, Assessment] = {}
    with log.progress("evaluate", usable.height, "crops") as advance:
        for name, part in parts.items():  # one at a time: a split's scores are a large copy
            scored = _scored(part, matrix, labels, name)
            found[name] = assess(
                part, scored, known, top_k=cfg.top_k, majority=majority,
                levels=levels(labels, taxonomy or {}), rule=cfg.sequence_rule,
            )  # fmt: skip
            weights = label_balanced_weights(scored.truth, len(labels))
            crops = outputs.Outputs(part["crop_id"].to_list(), part["label"].to_list(), weights, labels, scored.scores)
            outputs.write_outputs(run_dir / f"outputs_{name}.csv.gz", crops)
            advance(part.height)
    written = _tables(run_dir.name, found)
    for schema in (schemas.METRICS, schemas.SCORED, schemas.RELIABILITY, schemas.THRESHOLDS, schemas.THRESHOLD_CURVES):
        tables.write(run_dir / f"{schema.name}.parquet", written[schema.name], schema)
    calibration_json.write(run_dir / "calibration.json", known)
    _write_summaries(run_dir, found, labels, cfg)
    _say_what_it_saves(written["thresholds"], known, log)
    material = Material(
        **_origin(run_dir, params, labels, usable),
        majority=labels[majority],
        metrics=written["metrics"],
        crops=written["scored"],
        confusion={name: part.confusion for name, part in found.items()},
        left_out=left_out,
        crops_dir=crops_dir,
        gallery=cfg.gallery,
        shares=shares(examples, splits),
        turns=len(folds_of(splits)) if (splits["split"] == "test").all() else 0,
        seed=cfg.seed,
        calibration=runs.read_json(run_dir / "calibration.json"),
        tables={name: written[name] for name in ("reliability", "thresholds", "threshold_curves")},
    )
    atomic.replace_text(run_dir / "report.html", render(material))
    if cfg.card:
        atomic.replace_text(run_dir / "model_card.md", card.render(material))
    return schemas.METRICS.check(written["metrics"])


def _evaluate_several(
    usable: pl.DataFrame,
    matrix: Floats,
    left_out: Sequence[LeftOut],
    params: dict[str, object],
    labels: Sequence[str],
    cfg: EvaluateConfig,
    *,
    run_dir: Path,
    crops_dir: Path | Place,
) -> pl.DataFrame:
    """The same of a run whose crops may have several labels: metrics.parquet, outputs_{split}.csv.gz, report.html.

    Nothing is calibrated: calibration.json says so.
    """
    number = {label: n for n, label in enumerate(labels)}
    figures, mistakes = [], []
    for name in SPLITS:
        part = usable.filter(pl.col("split") == name)
        truth = np.zeros((part.height, len(labels)), bool)
        for row, own in enumerate(part["labels"]):
            truth[row, [number[label] for label in own]] = True
        scores = matrix[part["row"].to_numpy()] if part.height else np.zeros((0, len(labels)), np.float32)
        scored = Several(truth, scores, part["group_id"].rle_id().cast(pl.Int64).to_numpy(), labels, name)
        figures += [
            {"checkpoint_id": run_dir.name, "split": name, "group_kind": "", "group_value": "", **vars(figure)}
            for figure in several_scorecard(scored)
        ]
        names = [",".join(own) for own in part["labels"]]
        rows = outputs.Outputs(part["crop_id"].to_list(), names, np.ones(part.height), labels, scores)
        outputs.write_outputs(run_dir / f"outputs_{name}.csv.gz", rows)
        mistakes.append(_surest_mistakes(part, scored).with_columns(split=pl.lit(name)))
    metrics = schemas.METRICS.check(pl.DataFrame(figures, schema=schemas.METRICS.columns, orient="row"))
    tables.write(run_dir / "metrics.parquet", metrics, schemas.METRICS)
    reason = "crops may have several labels, each with a probability of its own"
    calibration_json.write(run_dir / "calibration.json", calibration.none(labels, reason))
    wrong = pl.concat(mistakes)
    judged = next((name for name in ("test", "val", "seen", "train") if (usable["split"] == name).any()), "")
    material = several_page.Material(
        **_origin(run_dir, params, labels, usable),
        metrics=metrics,
        mistakes=wrong.filter(pl.col("split") == judged).head(cfg.gallery),
        left_out=left_out,
        crops_dir=crops_dir,
    )
    atomic.replace_text(run_dir / "report.html", several_page.render(material))
    return metrics


def _surest_mistakes(part: pl.DataFrame, scored: Several) -> pl.DataFrame:
    """Crops of which a label is said wrong: crop_id, label, predicted, location, score (that label's probability of
    being as it was said), the surest first."""
    wrong = scored.truth != scored.said
    how_far = np.where(wrong, np.abs(scored.scores - scored.truth), 0).astype(np.float64)
    return (
        part.select(
            "crop_id",
            "location",
            label=pl.Series(names_of(scored.truth, scored.labels), dtype=pl.String),
            predicted=pl.Series(names_of(scored.said, scored.labels), dtype=pl.String),
            score=pl.Series(how_far.max(1, initial=0), dtype=pl.Float64),
        )
        .filter(pl.col("score") > 0)
        .sort("score", "crop_id", descending=[True, False])
    )


def _origin(run_dir: Path, params: dict[str, object], labels: Sequence[str], usable: pl.DataFrame) -> dict[str, Any]:
    """What a page says of the run and of this evaluation."""
    return {
        "run": run_dir.name,
        "params": params,
        "epochs": runs.read_lines(run_dir / "metrics.jsonl"),
        "done": runs.read_json(run_dir / "done.json"),
        "labels": labels,
        "fingerprint": _fingerprint(usable),
        "made_at": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "versions": {name: version(name) for name in ("trapline", "polars", "numpy")},
        "machine": provenance.machine(),
        "code": provenance.code(),
    }


def _tell(frame: pl.DataFrame, examples: int, left_out: Sequence[LeftOut], log: Log) -> None:
    """The account of examples, and warnings about what should not be there."""
    reasons: dict[str, int] = {}
    for row in left_out:
        reasons[row.reason] = reasons.get(row.reason, 0) + row.crops
    log.account("examples", examples, "scored crops", frame["left_out"].null_count(), reasons)
    unknown = [row for row in left_out if "does not know" in row.reason]
    if unknown:
        log.warn(
            f"{count(sum(row.crops for row in unknown), 'crop')} of labels that the model was not trained on "
            f"({', '.join(str(row.detail) for row in unknown)}): no figure counts them. Train again to include them."
        )
    if not frame.filter((pl.col("split") == "test") & pl.col("left_out").is_null()).height:
        log.warn("there are no scored test crops: nothing is known about locations the classifier has never seen.")


def _scored(part: pl.DataFrame, matrix: Floats, labels: Sequence[str], split: str) -> Scored:
    number = pl.Enum(list(labels))
    truth = part["label"].cast(number).to_physical().cast(pl.Int64).to_numpy()
    scores = matrix[part["row"].to_numpy()] if part.height else np.zeros((0, len(labels)), np.float32)
    return Scored(truth, scores, part["group_id"].rle_id().cast(pl.Int64).to_numpy(), labels, split)


def _majority(usable: pl.DataFrame, labels: Sequence[str]) -> int:
    """The most common label of train; where nothing of train was scored, of everything."""
    train = usable.filter(pl.col("split") == "train")
    crops = dict((train if train.height else usable)["label"].value_counts().iter_rows())
    return int(np.argmax([crops.get(label, 0) for label in labels]))


def _calibrate(val: Scored, cfg: EvaluateConfig, *, cross_validated: bool) -> Calibration:
    """Scales, offsets and thresholds, from val alone."""
    if not len(val.truth):
        reason = "a cross-validation has no val split" if cross_validated else "no val crops"
        return calibration.none(val.labels, reason)
    known = calibration.fit(val.truth, val.scores, val.group, val.labels, cfg.calibration)
    better = replace(val, scores=calibration.apply(known, val.scores))
    least, why = thresholds.choose(kept_crops(better), cfg.precision)
    values = [float(value) if np.isfinite(value) else None for value in least]
    return replace(
        known,
        precision=cfg.precision,
        thresholds=dict(zip(val.labels, values, strict=True)),
        reasons={label: reason for label, reason in zip(val.labels, why, strict=True) if reason is not None},
    )


def _tables(checkpoint_id: str, found: Mapping[str, Assessment]) -> dict[str, pl.DataFrame]:
    """METRICS, SCORED, RELIABILITY, THRESHOLDS and THRESHOLD_CURVES, by name."""
    metrics = [row for part in found.values() for row in part.metrics]
    gap = gaps(found[SEEN].named, found["test"].named)
    everything = {"split": "test", "group_kind": "", "group_value": ""}
    metrics += [{**everything, **vars(figure)} for figure in gap]
    curves = [part.curves for part in found.values() if part.curves is not None]

    def table(schema: schemas.Schema, rows: Sequence[Mapping[str, object]]) -> pl.DataFrame:
        return pl.DataFrame(rows, schema=schema.columns, orient="row")

    return {
        "metrics": table(schemas.METRICS, [{"checkpoint_id": checkpoint_id, **row} for row in metrics]),
        "scored": pl.concat([part.scored for part in found.values()]).select(list(schemas.SCORED.columns)),
        "reliability": table(schemas.RELIABILITY, [row for part in found.values() for row in part.reliability]),
        "thresholds": table(schemas.THRESHOLDS, [row for part in found.values() for row in part.thresholds]),
        "threshold_curves": pl.concat(curves).select(list(schemas.THRESHOLD_CURVES.columns)),
    }


def _write_summaries(
    run_dir: Path, found: Mapping[str, Assessment], labels: Sequence[str], cfg: EvaluateConfig
) -> None:
    """The reference chain's files of figures. There, "weighted" means that every label weighs the same."""
    overall, stats = [], []
    for name, part in found.items():
        value = {(f.name, f.label): float("nan") if f.value is None else f.value for f in part.cards}
        ks = top_ks(cfg.top_k, len(labels))
        plain = {f"acc_top{k}": value["accuracy" if k == 1 else f"top{k}_accuracy", ""] for k in ks}
        macro = {f"acc_weighted_top{k}": value["macro_recall" if k == 1 else f"macro_top{k}_recall", ""] for k in ks}
        losses = value["log_loss", ""], value["macro_log_loss", ""]
        overall.append({"split": name, "loss": losses[0], **plain, "loss_weighted": losses[1], **macro})
        stats += [
            {"split": name, "label": label, "precision": value["precision", label], "recall": value["recall", label]}
            for label in labels
        ]
    outputs.write_overall(run_dir / "overall_metrics.csv", overall)
    outputs.write_label_stats(run_dir / "label_stats.csv", stats)
    outputs.write_confusion(run_dir / "confusion_matrices.npz", {name: part.confusion for name, part in found.items()})


def _say_what_it_saves(table: pl.DataFrame, known: Calibration, log: Log) -> None:
    if known.precision is None:
        log.note(f"scores are not calibrated, and no thresholds chosen: {known.reason}")
        return
    row = table.filter((pl.col("split") == "test") & (pl.col("label") == "")).row(0, named=True)
    never = [label for label, value in known.thresholds.items() if value is None]
    held, saved = ((row[name], row[f"{name}_low"], row[f"{name}_high"]) for name in ("precision", "coverage"))
    log.note(thresholds.in_words(known.precision, held, saved, never, "test"))


def _fingerprint(usable: pl.DataFrame) -> str:
    """Of what was evaluated: every crop's name, label, group and split."""
    named = pl.col("labels").list.join(",")
    rows = usable.select("crop_id", label=named, group_id="group_id", split="split").sort("crop_id")
    return fingerprint(rows.write_csv())


def _read_params(run_dir: Path) -> dict[str, object]:
    params = runs.read_json(run_dir / "params.json")
    if not isinstance(params.get("labels"), list) or not params["labels"]:
        raise TraplineError(f"{run_dir / 'params.json'} is missing or names no labels: {run_dir.name} is not a run.")
    return params
