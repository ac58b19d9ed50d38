"""evaluate: how good the predictions are, where, how sure that is, and what they save. Needs no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import msgspec
import numpy as np
import polars as pl

from trapline.core import calibration, schemas, thresholds
from trapline.core.assessment import Assessment, assess, kept_crops
from trapline.core.calibration import Calibration
from trapline.core.config import EvaluateConfig
from trapline.core.errors import TraplineError
from trapline.core.folds import folds_of
from trapline.core.log import Log
from trapline.core.metrics import Floats, label_balanced_weights
from trapline.core.scorecard import Scored, gaps, top_ks
from trapline.core.taxonomy import levels
from trapline.formats import calibration_json, outputs
from trapline.io import atomic, provenance, tables
from trapline.io.ledger import fingerprint
from trapline.report import card
from trapline.report.page import LeftOut, Material, render
from trapline.report.split_figure import shares
from trapline.report.wording import count

SEEN = "seen"
SPLITS = (*schemas.SPLIT_NAMES, SEEN)


def evaluate(
    predictions: pl.DataFrame,
    examples: pl.DataFrame,
    splits: pl.DataFrame,
    cfg: EvaluateConfig,
    *,
    taxonomy: Mapping[str, Mapping[str, str]] | None = None,
    run_dir: Path,
    crops_dir: Path,
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
        crops_dir: Where the crops of the report's pictures lie, as `crops_dir / crop_id`.

    Returns:
        METRICS rows. `reason` says why a value, or its interval, is null.

    Raises:
        TraplineError: params.json is missing or names other labels than the predictions have.
    """
    params = _read_params(run_dir)
    labels = [str(label) for label in params["labels"]]  # type: ignore[attr-defined]
    frame, matrix, left_out = _join(predictions, examples, splits, labels)
    _tell(frame, examples.height, left_out, log)
    usable = frame.filter(pl.col("left_out").is_null()).sort("group_id", "sequence", "crop_id")
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
        run=run_dir.name,
        params=params,
        epochs=_read_lines(run_dir / "metrics.jsonl"),
        done=_read_json(run_dir / "done.json"),
        labels=labels,
        majority=labels[majority],
        metrics=written["metrics"],
        crops=written["scored"],
        confusion={name: part.confusion for name, part in found.items()},
        left_out=left_out,
        fingerprint=_fingerprint(usable),
        made_at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        versions={name: version(name) for name in ("trapline", "polars", "numpy")},
        crops_dir=crops_dir,
        gallery=cfg.gallery,
        shares=shares(examples, splits),
        turns=len(folds_of(splits)) if (splits["split"] == "test").all() else 0,
        seed=cfg.seed,
        calibration=_read_json(run_dir / "calibration.json"),
        tables={name: written[name] for name in ("reliability", "thresholds", "threshold_curves")},
        machine=provenance.machine(),
        code=provenance.code(),
    )
    atomic.replace_text(run_dir / "report.html", render(material))
    if cfg.card:
        atomic.replace_text(run_dir / "model_card.md", card.render(material))
    return schemas.METRICS.check(written["metrics"])


def _join(
    predictions: pl.DataFrame, examples: pl.DataFrame, splits: pl.DataFrame, labels: Sequence[str]
) -> tuple[pl.DataFrame, Floats, list[LeftOut]]:
    """One row per example: its label, split, place, time, the row of its scores, and in `left_out` why it cannot be
    scored (or null); the scores; and the examples that are left out, by reason."""
    width = getattr(predictions.schema["scores"], "size", len(labels))
    if predictions.height and width != len(labels):
        if predictions["scores"].null_count() < predictions.height:
            raise TraplineError(
                f"the predictions hold {width} scores per crop, but the run's params.json names {len(labels)} labels: "
                "they are of another run. Make them again with `trapline predict`."
            )
        predictions = predictions.with_columns(scores=pl.lit(None, pl.Array(pl.Float32, len(labels))))
    rows = predictions.select("crop_id", "failure", unread=pl.col("scores").is_null() | pl.col("failure").is_not_null())
    readable = predictions["scores"].drop_nulls() if predictions["scores"].null_count() else predictions["scores"]
    matrix = readable.to_numpy() if len(readable) else np.zeros((0, len(labels)), np.float32)
    row = (predictions["scores"].is_not_null().cast(pl.Int64).cum_sum() - 1).clip(lower_bound=0)
    finite = pl.Series(_finite(matrix), dtype=pl.Boolean)
    numbers = finite.gather(row) if len(finite) else pl.repeat(False, rows.height, dtype=pl.Boolean, eager=True)
    several_datasets = examples["dataset"].n_unique() > 1

    def named(*columns: str) -> pl.Expr:
        """Unique among datasets."""
        name = pl.coalesce(*columns)
        return pl.concat_str("dataset", name, separator="/") if several_datasets else name

    frame = (
        examples.join(rows.with_columns(row=row, numbers=numbers), on="crop_id", how="left")
        .join(splits.select("group_id", "split"), on="group_id", how="left")
        .select(
            "crop_id",
            "group_id",
            "labels",
            "failure",
            "unread",
            "numbers",
            "row",
            label=pl.col("labels").list.first(),
            location=named("location_id", "group_id"),
            camera=named("camera_id", "location_id", "group_id"),
            hour=pl.col("captured_at").dt.hour().cast(pl.Int64),
            light=pl.when("infrared").then(pl.lit("infrared")).when(~pl.col("infrared")).then(pl.lit("day")),
            sequence=named("sequence_id"),
            split=pl.when((pl.col("split") == "train") & pl.col("heldback")).then(pl.lit(SEEN)).otherwise("split"),
        )
        .with_columns(
            left_out=pl.when(pl.col("split").is_null())
            .then(pl.lit("of a group without a split"))
            .when(pl.col("labels").list.len() == 0)
            .then(pl.lit("without a label"))
            .when(pl.col("labels").list.len() > 1)
            .then(pl.lit("with several labels"))
            .when(~pl.col("label").is_in(list(labels)))
            .then(pl.lit("of a label that the model does not know"))
            .when(pl.col("unread").is_null())
            .then(pl.lit("without a prediction"))
            .when("unread")
            .then(pl.lit("that could not be read"))
            .when(~pl.col("numbers"))
            .then(pl.lit("with scores that are not numbers"))
        )
    )
    lost = frame.filter(pl.col("left_out").is_not_null()).with_columns(
        detail=pl.when(pl.col("left_out") == "that could not be read")
        .then("failure")
        .when(pl.col("left_out").str.contains("does not know"))
        .then("label")
    )
    groups = lost.group_by("left_out", "detail").agg(crops=pl.len(), first=pl.col("crop_id").min())
    groups = groups.sort("crops", "left_out", "detail", descending=[True, False, False])
    return frame.drop("labels", "unread", "numbers", "failure"), matrix, [LeftOut(*found) for found in groups.rows()]


def _finite(matrix: Floats) -> np.ndarray:
    """(n,) whether all scores of a row are numbers."""
    sums = matrix.sum(1) if len(matrix) else np.zeros(0, np.float32)  # one that is not a number spoils the sum
    return np.isfinite(sums)


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
    rows = usable.select("crop_id", "label", "group_id", "split").sort("crop_id")
    return fingerprint(rows.write_csv())


def _read_params(run_dir: Path) -> dict[str, object]:
    params = _read_json(run_dir / "params.json")
    if not isinstance(params.get("labels"), list) or not params["labels"]:
        raise TraplineError(f"{run_dir / 'params.json'} is missing or names no labels: {run_dir.name} is not a run.")
    return params


def _read_json(path: Path) -> dict[str, object]:
    """A JSON object; empty where the file is missing or damaged."""
    try:
        found = msgspec.json.decode(path.read_bytes())
    except (OSError, msgspec.DecodeError):
        return {}
    return found if isinstance(found, dict) else {}


def _read_lines(path: Path) -> list[dict[str, object]]:
    """One JSON object per line; damaged lines are skipped."""
    found = []
    for line in path.read_bytes().splitlines() if path.exists() else []:
        try:
            row = msgspec.json.decode(line)
        except msgspec.DecodeError:
            continue
        if isinstance(row, dict):
            found.append(row)
    return found
