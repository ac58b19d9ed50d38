"""train: fine-tune a model on the train split, stop early on val, never look at test."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import msgspec
import numpy as np
import polars as pl

from trapline.core.config import TrainConfig
from trapline.core.errors import InputError, TraplineError
from trapline.core.log import Log
from trapline.io import atomic, provenance
from trapline.io.ledger import fingerprint
from trapline.learn import device as devices
from trapline.learn.loop import BEST, Task, fit
from trapline.learn.models import build, transform_of
from trapline.learn.transforms import Transform

PARAMS, DONE = "params.json", "done.json"


@dataclass(frozen=True)
class TrainResult:
    """A finished training.

    Args:
        run_dir: The run's folder.
        checkpoint: Its best checkpoint: everything needed to predict.
        best_epoch: The checkpoint's epoch; 0 is the probe.
        best_val_macro_recall: Its macro recall on val; None without val examples.
        epochs: Epochs that were trained.
    """

    run_dir: Path
    checkpoint: Path
    best_epoch: int
    best_val_macro_recall: float | None
    epochs: int


class Done(msgspec.Struct):
    """done.json: written last; a run with it is finished."""

    checkpoint: str  # relative to the run's folder
    best_epoch: int
    best_val_macro_recall: float | None
    epochs: int


class Params(msgspec.Struct):
    """params.json: written first; what is trained, from what, with what."""

    config: dict[str, object]  # every option, the resolved image size and device among them
    labels: list[str]
    train: dict[str, int]  # label -> crops
    val: dict[str, int]
    fingerprint: str  # of the crops, their labels, splits, weights and file sizes
    threads: int
    transform: dict[str, object]
    versions: dict[str, str]
    machine: str = ""  # of the first call, as code
    code: str = ""


def train(
    examples: pl.DataFrame, splits: pl.DataFrame, cfg: TrainConfig, *, crops_dir: Path, run_dir: Path, log: Log
) -> TrainResult:
    """Train a classifier, or go on with a training that was stopped; a finished one returns its result at once.

    Killed at any step and called again, it ends (on the CPU) with the weights and metrics of an unbroken run.

    Args:
        examples: EXAMPLES rows; each with one label. `heldback` ones are not trained on.
        splits: SPLITS rows of the examples' groups. Examples of groups without a split, and of test, are left out.
        crops_dir: A crop's file is `crops_dir / crop_id`.
        run_dir: The run's folder: params.json, checkpoints/{last,best}.pt, metrics.jsonl, tensorboard/, done.json.

    Raises:
        InputError: Nothing to train on, only one label, an example with several labels, an unknown model; no epochs
            and no probe.
        TraplineError: `run_dir` holds another training; crops are missing; the loss is not a number.
    """
    if cfg.epochs == 0 and cfg.head_start != "probe":
        raise InputError("0 epochs train nothing without a probe: set epochs to 1 or more, or head_start to probe.")
    labels, parts = _select(examples, splits, log)
    sizes = {name: _file_sizes(part, crops_dir, name) for name, part in parts.items()}
    device = devices.resolve(cfg.device)
    asked = _params(cfg, labels, parts, sizes, str(device))
    kept = _settle_params(run_dir, asked, log)
    if (done := _read(run_dir / DONE, Done)) is not None:
        return TrainResult(run_dir, run_dir / done.checkpoint, done.best_epoch, done.best_val_macro_recall, done.epochs)
    index = {label: number for number, label in enumerate(labels)}
    rows, val = parts["train"], parts["val"]
    task = Task(
        labels=tuple(labels),
        crop_ids=tuple(rows["crop_id"]),
        paths=tuple(crops_dir / crop_id for crop_id in rows["crop_id"]),
        targets=np.array([index[label] for label in rows["label"]], dtype=np.int64),
        weights=rows["weight"].to_numpy().astype(np.float64),
        val_paths=tuple(crops_dir / crop_id for crop_id in val["crop_id"]),
        val_targets=np.array([index[label] for label in val["label"]], dtype=np.int64),
    )
    # Not in the checkpoints: what does not change them.
    decisive = {name: value for name, value in kept.config.items() if name not in TrainConfig.inert}
    trained = {"config": decisive, "fingerprint": kept.fingerprint, "versions": kept.versions}
    end = fit(
        task,
        cfg,
        Transform.from_dict(kept.transform),
        run_dir=run_dir,
        device=device,
        threads=kept.threads,
        trained=trained,
        log=log,
    )
    done = Done(f"checkpoints/{BEST}", end.best_epoch, end.best_recall, end.epoch)
    _write(run_dir / DONE, done)
    if end.epoch < cfg.epochs:
        log.note(f"stopped after epoch {end.epoch}: no better on val for {cfg.patience} epochs")
    return TrainResult(run_dir, run_dir / done.checkpoint, done.best_epoch, done.best_val_macro_recall, done.epochs)


def _select(examples: pl.DataFrame, splits: pl.DataFrame, log: Log) -> tuple[list[str], dict[str, pl.DataFrame]]:
    """All labels in sorted order, and the train and val rows (crop_id, label, weight), sorted by crop_id."""
    several = examples.filter(pl.col("labels").list.len() != 1)
    if several.height:
        raise InputError(
            f"{several.height:,} of {examples.height:,} crops have no label or several (first: "
            f"{several['crop_id'][0]}). Training on several labels per crop is not yet supported: leave them out."
        )
    frame = (
        examples.join(splits.select("group_id", "split"), on="group_id", how="left")
        .with_columns(label=pl.col("labels").list.first())
        .sort("crop_id")
    )
    columns = ["crop_id", "label", "weight"]
    usable = frame.filter((pl.col("split") == "train") & ~pl.col("heldback"))
    rows = usable.filter(pl.col("weight") > 0).select(columns)
    val = frame.filter(pl.col("split") == "val").select(columns)
    log.account(
        "examples",
        frame.height,
        "training crops",
        rows.height,
        {
            "in val": val.height,
            "in test": frame.filter(pl.col("split") == "test").height,
            "held back": frame.filter((pl.col("split") == "train") & pl.col("heldback")).height,
            "of weight zero": usable.height - rows.height,
            "without a split": frame["split"].null_count(),
        },
    )
    if not rows.height:
        raise InputError(f"none of {examples.height:,} examples is in the train split: there is nothing to train on.")
    labels = sorted(frame["label"].unique())
    seen = set(rows["label"])
    if len(seen) == 1:
        raise InputError(
            f"all {rows.height:,} training crops are labelled {next(iter(seen))!r}: a classifier needs two labels or "
            "more. Check the label map and the excluded labels."
        )
    _warn("cannot be learnt: no training crops of", [label for label in labels if label not in seen], log)
    if not val.height:
        log.warn("val is empty: there is no early stopping, and the last epoch counts as the best")
    else:
        absent = [label for label in labels if label in seen and label not in set(val["label"])]
        _warn("early stopping does not see all labels: val has no crops of", absent, log)
    return labels, {"train": rows, "val": val}


def _warn(what: str, labels: Sequence[str], log: Log) -> None:
    if labels:
        more = f" and {len(labels) - 5} more" if len(labels) > 5 else ""
        log.warn(f"{what} {', '.join(labels[:5])}{more}")


def _file_sizes(rows: pl.DataFrame, crops_dir: Path, split: str) -> list[int]:
    """Bytes of each crop's file; a missing one is an error now, not an hour into training."""
    sizes, missing = [], []
    for crop_id in rows["crop_id"]:
        try:
            sizes.append(os.stat(crops_dir / crop_id).st_size)
        except OSError:
            missing.append(crop_id)
    if missing:
        raise TraplineError(
            f"{len(missing):,} of {rows.height:,} {split} crops are missing in {crops_dir} (first: {missing[0]}). "
            "Make them again with `trapline crop`."
        )
    return sizes


def _params(
    cfg: TrainConfig,
    labels: list[str],
    parts: Mapping[str, pl.DataFrame],
    sizes: Mapping[str, list[int]],
    device: str,
) -> Params:
    """What this training is, with nothing left to a default."""
    transform = transform_of(build(cfg.timm_name, len(labels), pretrained=False), cfg.image_size)
    counts = {name: dict(zip(*part.group_by("label").len().sort("label"), strict=True)) for name, part in parts.items()}
    content = [[name, part.rows(), sizes[name]] for name, part in parts.items()]
    return Params(
        config={**cfg.model_dump(), "image_size": transform.image_size, "device": device},
        labels=labels,
        train=counts["train"],
        val=counts["val"],
        fingerprint=fingerprint(content),
        threads=devices.cores(),
        transform=transform.as_dict(),
        versions={name: version(name) for name in ("trapline", "torch", "timm", "numpy", "pillow")},
        machine=provenance.machine(),
        code=provenance.code(),
    )


def _settle_params(run_dir: Path, asked: Params, log: Log) -> Params:
    """Write params.json, or check that what it says is what is asked for; what decides the weights is kept.

    Raises:
        TraplineError: The folder holds another training; lists what differs.
    """
    path = run_dir / PARAMS
    found = _read(path, Params)
    if found is None:
        _write(path, asked)
        return asked
    differ = [
        f"{name} is {found.config.get(name)}, asked for {value}"
        for name, value in asked.config.items()
        if name not in {*TrainConfig.inert, "device"} and found.config.get(name) != value
    ]
    differ += [what for what, same in (("labels", found.labels == asked.labels),) if not same]
    if found.fingerprint != asked.fingerprint:
        differ.append("the training data (crops, labels, splits or weights)")
    if differ:
        raise TraplineError(
            f"{run_dir} holds a training that differs from what is asked for: {'; '.join(differ)}. "
            "Train in a new run folder, or go back to what it was started with."
        )
    if (run_dir / DONE).exists():
        return found
    for what, before, now in (
        ("device", found.config["device"], asked.config["device"]),
        *((name, found.versions.get(name), now) for name, now in asked.versions.items()),
    ):
        if before != now:
            log.warn(f"the training began with {what} {before} and goes on with {now}: equal to rounding only")
    return found


Known = Params | Done


def _read(path: Path, kind: type):
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise TraplineError(f"{path} is damaged ({error}). Train again in a new run folder.") from None


def _write(path: Path, content: Known) -> None:
    data = msgspec.json.format(msgspec.json.encode(content), indent=2)
    atomic.replace(path, lambda stream: stream.write(data))
