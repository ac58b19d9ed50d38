"""Decisions on a finished prediction: read it and what was learnt about its run, decide, write the tables."""

from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
import polars as pl

from trapline.core import calibration, drift, rollup, schemas
from trapline.core.allowed import settle
from trapline.core.calibration import Calibration
from trapline.core.config import DecideConfig
from trapline.core.errors import InputError, TraplineError
from trapline.core.log import Log
from trapline.core.metrics import Floats, Ints, Real
from trapline.core.rollup import Ladder
from trapline.formats import allowed_csv, calibration_json, places_csv, taxonomy_csv
from trapline.io import tables
from trapline.io.runs import is_multilabel, read_json
from trapline.report import count_figure
from trapline.stages.decide import Decisions, decide

NOT_AVAILABLE = "NA"  # of a detection history, as R reads it
HELD_OUT = ("val", "test")


def decide_predictions(
    predictions: Path,
    run_dir: Path,
    out: Path,
    cfg: DecideConfig,
    *,
    taxonomy: Path | None = None,
    allowed: Path | None = None,
    locations: Path | None = None,
    images_table: Path | None = None,
    deployments: Path | None = None,
    log: Log,
) -> Decisions:
    """Decide on the boxes of a prediction, and write what comes of it into a folder (docs/decisions.md).

    Args:
        predictions: A table of DETECTION_SCORES, a row per scored box.
        run_dir: The run whose checkpoint made them.
        out: The folder; made if it does not exist, files in it are replaced.
        taxonomy: CSV of label and levels, for roll-up.
        allowed: CSV of labels that can be true, perhaps by location or region.
        locations: CSV of location and region.
        images_table: CSV of path and location, datetime, sequence: what the predictions do not know of their images.
        deployments: CSV of location, start, end: when cameras ran.

    Raises:
        InputError: A file cannot be used, or predictions are of another run.
        TraplineError: The disk refuses.
    """
    labels = labels_of(run_dir)
    if is_multilabel(read_json(run_dir / "params.json")):
        raise InputError(
            f"run {run_dir.name} was trained with --multilabel: each label has a probability of its own, and decide "
            "chooses one label per box. Take a run trained without it."
        )
    scores = _read(predictions, labels)
    if images_table is not None:
        scores = _add_images(scores, places_csv.read_images(images_table), images_table.name, log)
    known = _calibration(run_dir, labels, cfg, log)
    steps = rollup.ladder(labels, taxonomy_csv.read(taxonomy) if taxonomy else {})
    if taxonomy is not None:
        _tell_taxonomy(steps, taxonomy, log)
    told = _if_there(run_dir / "scored.parquet")
    least, trial = _thresholds(run_dir, told, steps, known, cfg, log)
    listed = None
    if allowed is not None:
        regions = places_csv.read_regions(locations) if locations else {}
        listed = settle(allowed_csv.read(allowed), labels, regions)
    periods = places_csv.read_deployments(deployments) if deployments else None
    found = decide(scores, cfg, steps=steps, least=least, allowed=listed, deployments=periods, log=log)
    tables.write(out / "answers.parquet", found.answers, schemas.ANSWERS)
    tables.save_csv(out / "answers.csv", found.answers)
    tables.save_csv(out / "sequences.csv", found.sequences)
    tables.save_csv(out / "review.csv", found.review)
    tables.save_csv(out / "counts.csv", found.counts)
    tables.save_csv(out / "detection_history.csv", found.history, null=NOT_AVAILABLE)
    tables.save_csv(out / "effort.csv", found.effort)
    if trial is not None:
        tables.save_csv(out / "rollup.csv", trial)
    tables.save_csv(out / "drift.csv", _drift(found.answers, told, log))
    if found.counts.height:
        count_figure.draw(found.counts, out / "counts.png")
    return found


def _add_images(scores: pl.DataFrame, rows: pl.DataFrame, name: str, log: Log) -> pl.DataFrame:
    """DETECTION_SCORES rows with what a table says of their images; where it says nothing, what was known stays.

    Args:
        rows: file, location_id, sequence_id, captured_at.

    Raises:
        InputError: It lists none of the images.
    """
    columns = ("location_id", "sequence_id", "captured_at")
    files = scores["file"].unique()
    there = rows.filter(pl.col("file").is_in(files.implode()))
    if not there.height and len(files):
        raise InputError(
            f"{name} lists none of the {len(files):,} images of the predictions (there: {files[0]}; in {name}: "
            f"{rows['file'][0] if rows.height else 'nothing'}). Name them as the predictions do."
        )
    log.account(
        "rows of " + name, rows.height, "images", there.height, {"not of these images": rows.height - there.height}
    )
    absent = files.filter(~files.is_in(rows["file"].implode())).sort()
    if len(absent):
        log.warn(f"{len(absent):,} of {len(files):,} images are not in {name} (first: {absent[0]}).")
    joined = scores.join(there, on="file", how="left", suffix="_told", maintain_order="left")
    return joined.with_columns(pl.coalesce(f"{column}_told", column).alias(column) for column in columns).drop(
        f"{column}_told" for column in columns
    )


def labels_of(run_dir: Path) -> list[str]:
    """The labels of a run's scores, in order.

    Raises:
        InputError: It is not a run.
    """
    try:
        found = msgspec.json.decode((run_dir / "params.json").read_bytes()).get("labels")
    except (OSError, msgspec.DecodeError, AttributeError):
        found = None
    if not isinstance(found, list) or not found:
        raise InputError(f"{run_dir} is not a run: it has no params.json that names labels.")
    return [str(label) for label in found]


def _read(path: Path, labels: list[str]) -> pl.DataFrame:
    try:
        found = pl.read_parquet(path)
    except FileNotFoundError:
        raise InputError(
            f"there are no predictions {path}. Leave them out to decide on the project's own boxes."
        ) from None
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InputError(
            f"{path} is not a table of predictions: {(str(error) or 'unreadable').splitlines()[0]}."
        ) from None
    missing = [name for name in schemas.DETECTION_SCORES.columns if name not in found.columns]
    if missing:
        raise InputError(
            f"{path} lacks the columns {', '.join(missing)}: it is no table of scored boxes (docs/decisions.md)."
        )
    kind = found.schema["scores"]
    if isinstance(kind, pl.Array) and kind.size != len(labels) and found["scores"].null_count() < found.height:
        raise InputError(
            f"{path} holds {kind.size} scores per box, but the run has {len(labels)} labels: it was made with another "
            "run. Name that with --run."
        )
    return found


def _calibration(run_dir: Path, labels: list[str], cfg: DecideConfig, log: Log) -> Calibration:
    path = run_dir / "calibration.json"
    if not path.exists():
        known = calibration.none(labels, f"{path} is missing; `trapline evaluate` makes it")
    else:
        known = calibration_json.read(path, labels)
    if cfg.threshold is None and known.precision is None:
        log.warn(
            f"no thresholds are known ({known.reason}): nothing is sure, and every box is left to a person. Name a "
            "least confidence with --threshold."
        )
    elif cfg.threshold is None and (never := [label for label in labels if known.thresholds.get(label) is None]):
        log.note(
            f"{len(never)} of {len(labels)} labels are never sure ({', '.join(never[:12])}): they did not show "
            f"{known.precision:.0%} precision on val (calibration.json says why)."
        )
    return known


def _tell_taxonomy(steps: Ladder, path: Path, log: Log) -> None:
    if len(steps.rungs) == 1:
        log.warn(f"{path.name} joins none of the run's labels into a taxon of several: there is nothing to roll up to.")


def _thresholds(
    run_dir: Path, told: pl.DataFrame | None, steps: Ladder, known: Calibration, cfg: DecideConfig, log: Log
) -> tuple[Real, pl.DataFrame | None]:
    """(A,) thresholds of labels and taxa; and how the answers did on val and test, if there are taxa."""
    least = np.full(len(steps.names) - 1, np.inf)
    least[: len(steps.labels)] = calibration.thresholds_of(known)
    if cfg.threshold is not None:
        least[:] = cfg.threshold
    if len(steps.rungs) == 1:
        return least, None
    held_out = _held_out(run_dir, told, known)
    why: Mapping[str, str] = {}
    if cfg.threshold is None:
        if held_out["val"] is None or known.precision is None:
            log.warn("taxa have no thresholds, since the run has no evaluated val crops: nothing is rolled up. Name a "
                     "least confidence with --threshold.")  # fmt: skip
            return least, None
        wished = cfg.precision or known.precision
        least, why = rollup.choose(*held_out["val"], steps, calibration.thresholds_of(known), wished)
    tried = {
        split: rollup.trial(*part, steps, least, why, split) for split, part in held_out.items() if part is not None
    }
    if "test" in tried:
        log.note(tried["test"].words)
    return least, pl.concat([found.table for found in tried.values()]) if tried else None


def _drift(answers: pl.DataFrame, told: pl.DataFrame | None, log: Log) -> pl.DataFrame:
    """Every location against what the run was trained and tried on."""
    boxes = answers.drop_nulls("likeliest")
    if told is None:
        log.note("the run is not evaluated: whether these images are like those it was tried on cannot be told.")
        return drift.compare(boxes, None, [])[0]
    usual = drift.usual_confidence(told.filter(pl.col("split") == "val").select("group_id", "confidence"))
    found, words = drift.compare(boxes, usual, told.filter(pl.col("split") == "train")["label"].to_list())
    for sentence in words:
        log.warn(sentence)
    return found


def _if_there(path: Path) -> pl.DataFrame | None:
    """A table of the run; None where it is not there."""
    try:
        return tables.read(path)
    except TraplineError:
        return None


def _held_out(
    run_dir: Path, told: pl.DataFrame | None, known: Calibration
) -> dict[str, tuple[Floats, Ints, Ints] | None]:
    """Of val and test: calibrated scores, label numbers and group numbers of the crops; None where there are none."""
    predictions = _if_there(run_dir / "predictions.parquet")
    if told is None or predictions is None:
        return dict.fromkeys(HELD_OUT)
    scored = told.filter(pl.col("label").is_in(list(known.labels)))
    scored = scored.join(predictions.select("crop_id", "scores"), on="crop_id").drop_nulls("scores")
    return {
        split: _arrays(scored.filter(pl.col("split") == split).sort("group_id", "crop_id"), known) for split in HELD_OUT
    }


def _arrays(rows: pl.DataFrame, known: Calibration) -> tuple[Floats, Ints, Ints] | None:
    if not rows.height:
        return None
    truth = rows["label"].cast(pl.Enum(list(known.labels))).to_physical().cast(pl.Int64).to_numpy()
    group = rows["group_id"].rle_id().cast(pl.Int64).to_numpy()
    return calibration.apply(known, rows["scores"].to_numpy()), truth, group
