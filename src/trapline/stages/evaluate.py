"""evaluate: how good the predictions are, where, and how sure that is. Needs no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import msgspec
import numpy as np
import polars as pl

from trapline.core import schemas
from trapline.core.config import EvaluateConfig
from trapline.core.errors import TraplineError
from trapline.core.folds import folds_of
from trapline.core.log import Log
from trapline.core.metrics import label_balanced_weights
from trapline.core.scorecard import Figure, Scored, headline, scorecard, top_ks
from trapline.formats import outputs
from trapline.io import atomic
from trapline.io.ledger import fingerprint
from trapline.report.page import LeftOut, Material, render
from trapline.report.split_figure import shares
from trapline.report.wording import count

SEEN = "seen"
SPLITS = (*schemas.SPLIT_NAMES, SEEN)
ONE_LOCATION = "one location: no interval over locations"


def evaluate(
    predictions: pl.DataFrame,
    examples: pl.DataFrame,
    splits: pl.DataFrame,
    cfg: EvaluateConfig,
    *,
    run_dir: Path,
    crops_dir: Path,
    log: Log,
) -> pl.DataFrame:
    """Compare predictions with labels, per split, label, location and light, and write the run's results.

    The splits are train, val and test; held-back crops of train groups are a fourth, `seen`: locations that were
    trained on, crops that were not. Written into `run_dir`, each whole or not at all: outputs_{split}.csv.gz,
    overall_metrics.csv, label_stats.csv, confusion_matrices.npz, report.html.

    Args:
        predictions: PREDICTIONS rows; scores in the order of the run's labels.
        examples: EXAMPLES rows. Those that cannot be scored are left out, counted by reason.
        splits: SPLITS rows; of a cross-validation all test (core.folds.held_out).
        run_dir: A run's folder; its name is the checkpoint_id. Its params.json names the labels.
        crops_dir: Where the crops of the report's pictures lie, as `crops_dir / crop_id`.

    Returns:
        METRICS rows. `reason` says why a value, or its interval, is null.

    Raises:
        TraplineError: params.json is missing or names other labels than the predictions have.
    """
    params = _read_params(run_dir)
    labels = [str(label) for label in params["labels"]]  # type: ignore[attr-defined]
    frame, left_out = _join(predictions, examples, splits, labels)
    _tell(frame, examples.height, left_out, log)
    usable = frame.filter(pl.col("left_out").is_null())
    parts = {name: usable.filter(pl.col("split") == name).sort("crop_id") for name in SPLITS}
    scored = {name: _scored(part, labels, name) for name, part in parts.items()}
    majority = _majority(scored)
    cards: dict[str, list[Figure]] = {}
    rows: list[dict[str, object]] = []
    with log.progress("evaluate", sum(part.height for part in parts.values()), "crops") as advance:
        for name, part in parts.items():
            cards[name] = scorecard(scored[name], cfg.top_k, majority)
            rows += [_row(name, "", "", figure) for figure in cards[name]]
            rows += _by_part(name, part, scored[name])
            advance(part.height)
    table = pl.DataFrame(
        [{"checkpoint_id": run_dir.name, **row} for row in rows], schema=schemas.METRICS.columns, orient="row"
    )
    _write_outputs(run_dir, parts, scored, cards, labels, cfg)
    material = Material(
        run=run_dir.name,
        params=params,
        epochs=_read_lines(run_dir / "metrics.jsonl"),
        done=_read_json(run_dir / "done.json"),
        labels=labels,
        majority=labels[majority],
        metrics=table,
        crops=_crops(parts, scored, labels),
        confusion={name: part.confusion for name, part in scored.items()},
        left_out=left_out,
        fingerprint=_fingerprint(usable),
        made_at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        versions={name: version(name) for name in ("trapline", "polars", "numpy")},
        crops_dir=crops_dir,
        gallery=cfg.gallery,
        shares=shares(examples, splits),
        turns=len(folds_of(splits)) if (splits["split"] == "test").all() else 0,
        seed=cfg.seed,
    )
    atomic.replace_text(run_dir / "report.html", render(material))
    return schemas.METRICS.check(table)


def _join(
    predictions: pl.DataFrame, examples: pl.DataFrame, splits: pl.DataFrame, labels: Sequence[str]
) -> tuple[pl.DataFrame, list[LeftOut]]:
    """One row per example: its label, split, scores, place, and in `left_out` why it cannot be scored (or null)."""
    width = getattr(predictions.schema["scores"], "size", len(labels))
    if predictions.height and width != len(labels):
        readable = predictions["scores"].null_count() < predictions.height
        if readable:
            raise TraplineError(
                f"the predictions hold {width} scores per crop, but the run's params.json names {len(labels)} labels: "
                "they are of another run. Make them again with `trapline predict`."
            )
        predictions = predictions.with_columns(scores=pl.lit(None, pl.Array(pl.Float32, len(labels))))
    several_datasets = examples["dataset"].n_unique() > 1
    location = pl.coalesce("location_id", "group_id")
    frame = (
        examples.join(predictions.with_columns(predicted=True), on="crop_id", how="left")
        .join(splits.select("group_id", "split"), on="group_id", how="left")
        .with_columns(
            label=pl.col("labels").list.first(),
            location=pl.concat_str("dataset", location, separator="/") if several_datasets else location,
            split=pl.when((pl.col("split") == "train") & pl.col("heldback")).then(pl.lit(SEEN)).otherwise("split"),
            light=pl.when("infrared").then(pl.lit("infrared")).when(~pl.col("infrared")).then(pl.lit("day")),
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
            .when(pl.col("predicted").is_null())
            .then(pl.lit("without a prediction"))
            .when(pl.col("failure").is_not_null() | pl.col("scores").is_null())
            .then(pl.lit("that could not be read"))
            .when(~pl.col("scores").arr.eval(pl.element().is_finite()).arr.all())
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
    return frame, [LeftOut(*row) for row in groups.rows()]


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


def _scored(part: pl.DataFrame, labels: Sequence[str], split: str) -> Scored:
    index = {label: n for n, label in enumerate(labels)}
    truth = np.array([index[label] for label in part["label"]], np.int64)
    scores = part["scores"].to_numpy() if part.height else np.zeros((0, len(labels)), np.float32)
    group = np.unique(part["group_id"].to_numpy(), return_inverse=True)[1] if part.height else np.zeros(0, np.int64)
    return Scored(truth, scores.reshape(len(truth), len(labels)), group, labels, split)


def _majority(scored: Mapping[str, Scored]) -> int:
    """The most common label of train; where nothing of train was scored, of everything."""
    support = scored["train"].support
    if not support.sum():
        support = np.sum([part.support for part in scored.values()], axis=0)
    return int(support.argmax()) if len(support) else 0


def _by_part(split: str, part: pl.DataFrame, scored: Scored) -> list[dict[str, object]]:
    """Rows per location and per light."""
    rows: list[dict[str, object]] = []
    right = part.select("location", right=pl.Series(scored.predicted == scored.truth, dtype=pl.Boolean))
    for location, share, crops in right.group_by("location").agg(pl.mean("right"), pl.len()).sort("location").rows():
        figure = Figure("accuracy", "", share, None, None, crops, ONE_LOCATION)
        rows.append(_row(split, "location", location, figure))
    light = part["light"].to_numpy() if part.height else np.zeros(0, object)
    for value in ("day", "infrared"):
        chosen = light == value
        if chosen.any():
            rows += [_row(split, "light", value, figure) for figure in headline(scored.part(chosen))]
    return rows


def _row(split: str, kind: str, value: str, figure: Figure) -> dict[str, object]:
    return {"split": split, "group_kind": kind, "group_value": value, **asdict(figure)}


def _write_outputs(
    run_dir: Path,
    parts: Mapping[str, pl.DataFrame],
    scored: Mapping[str, Scored],
    cards: Mapping[str, Sequence[Figure]],
    labels: Sequence[str],
    cfg: EvaluateConfig,
) -> None:
    """The reference chain's files. There, "weighted" means that every label weighs the same."""
    overall, stats = [], []
    for name, part in parts.items():
        weights = label_balanced_weights(scored[name].truth, len(labels))
        outputs.write_outputs(
            run_dir / f"outputs_{name}.csv.gz",
            outputs.Outputs(part["crop_id"].to_list(), part["label"].to_list(), weights, labels, scored[name].scores),
        )
        value = {(f.name, f.label): float("nan") if f.value is None else f.value for f in cards[name]}
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
    outputs.write_confusion(run_dir / "confusion_matrices.npz", {name: part.confusion for name, part in scored.items()})


def _crops(parts: Mapping[str, pl.DataFrame], scored: Mapping[str, Scored], labels: Sequence[str]) -> pl.DataFrame:
    """One row per scored crop for the report: crop_id, split, location, group_id, label, predicted, score."""
    tables = [
        part.select("crop_id", "split", "location", "group_id", "label").with_columns(
            predicted=pl.Series([labels[n] for n in scored[name].predicted], dtype=pl.String),
            score=pl.Series(scored[name].scores.max(1) if part.height else [], dtype=pl.Float64),
        )
        for name, part in parts.items()
    ]
    return pl.concat(tables)


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
