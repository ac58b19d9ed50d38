"""train: fine-tune a model on the train split, stop early on val, never look at test."""

from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import msgspec
import polars as pl

from trapline.core import cores, recipes
from trapline.core.config import CropConfig, TrainConfig
from trapline.core.errors import InputError, TraplineError
from trapline.core.log import Log
from trapline.formats.ms_classification import read_label_index
from trapline.io import atomic, provenance, run_copy
from trapline.io.away import Objects
from trapline.io.ledger import fingerprint
from trapline.io.places import Place
from trapline.io.runs import MADE_FROM
from trapline.learn import device as devices
from trapline.learn import processes, tracking, weights
from trapline.learn.clock import Clock
from trapline.learn.examples import Lesson, lesson
from trapline.learn.keeping import BEST, LAST
from trapline.learn.loop import fit
from trapline.learn.models import build, transform_of
from trapline.learn.transforms import Transform
from trapline.learn.weights import Weights

PARAMS, DONE = "params.json", "done.json"
LABEL_INDEX = "label_index.json"


@dataclass(frozen=True)
class TrainResult:
    """A finished training.

    Args:
        run_dir: The run's folder.
        checkpoint: Its best checkpoint: everything needed to predict.
        best_epoch: The checkpoint's epoch; 0 is the probe.
        best_val_macro_recall: Its macro recall on val; None without val examples, or where crops have several labels.
        epochs: Epochs that were trained.
        best_val_mean_ap: Where crops have several labels: its mean average precision on val.
    """

    run_dir: Path
    checkpoint: Path
    best_epoch: int
    best_val_macro_recall: float | None
    epochs: int
    best_val_mean_ap: float | None = None


class Done(msgspec.Struct, omit_defaults=True):
    """done.json: written last; a run with it is finished."""

    checkpoint: str  # relative to the run's folder
    best_epoch: int
    best_val_macro_recall: float | None
    epochs: int
    best_val_mean_ap: float | None = None

    def result(self, run_dir: Path) -> TrainResult:
        """The same, with paths."""
        best = run_dir / self.checkpoint
        return TrainResult(
            run_dir, best, self.best_epoch, self.best_val_macro_recall, self.epochs, self.best_val_mean_ap
        )


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
    crops: dict[str, object] | None = None  # how the crops were cut; None where that is not known
    machine: str = ""  # of the first call, as code
    code: str = ""


def train(
    examples: pl.DataFrame,
    splits: pl.DataFrame,
    cfg: TrainConfig,
    *,
    crops_dir: Path | Place,
    run_dir: Path,
    log: Log,
    root: Path | None = None,
    clock: Clock | None = None,
    crops: CropConfig | None = None,
    away: Objects | None = None,
) -> TrainResult:
    """Train a classifier, or go on with a training that was stopped; a finished one returns its result at once.

    Killed at any step and called again, it ends (on the CPU) with the weights and metrics of an unbroken run. Called
    by several processes that torchrun started, they train together, and the first of them writes.

    Args:
        examples: EXAMPLES rows; each with one label, unless `multilabel`. `heldback` ones are not trained on.
        splits: SPLITS rows of the examples' groups. Examples of groups without a split, and of test, are left out.
        crops_dir: Where the crops lie: a folder (`crops_dir / crop_id`) or another place.
        run_dir: The run's folder: params.json, machine.json, checkpoints/{last,best}.pt, metrics.jsonl, tensorboard/,
            done.json.
        root: What relative paths in `cfg` are relative to. Default: the current folder.
        clock: What is left of the time budget, where it began before. Default: it begins now.
        crops: How the crops were cut; kept in the checkpoint, so that new images are cut alike.
        away: Where copies of the checkpoints, and of what going on from them needs, are put.

    Raises:
        InputError: Nothing to train on, only one label, an example with several labels, an unknown model, weights that
            do not fit; no epochs and no probe.
        TraplineError: `run_dir` holds another training; crops are missing; the loss is not a number; no memory, no
            disk. TimeIsUp: The time budget is used up.
    """
    clock = clock or Clock(cfg.time_budget_s)
    asked_for = recipes.of(cfg)
    if not asked_for.epochs and asked_for.head_start == "random":
        raise InputError("0 epochs train nothing without a probe: set epochs to 1 or more, or head_start to probe.")
    tracking.check(cfg.track)
    device = devices.resolve(cfg.device)
    together = processes.join(device)
    if not together.first:
        log = Log()
    chosen = lesson(examples, splits, cfg, crops_dir, log)
    begun = together.from_first((run_dir / "checkpoints" / LAST).exists() or (run_dir / DONE).exists())
    start = None if begun else starting_weights(cfg, root or Path())
    former = _read(run_dir / PARAMS, Params)
    own = start.transform if start is not None else Transform.from_dict(former.transform) if former else None
    crops_n, places = chosen.parts["train"].height, chosen.parts["train"]["group_id"].n_unique()
    cfg = recipes.settle(cfg, former.config if former is not None else None, places)
    if former is None:
        log.note(recipes.in_words(cfg, crops_n, places))
    asked = _params(cfg, chosen, str(device), input_of(cfg, own), crops)
    kept = together.from_first(_settle_params(run_dir, former, asked, log) if together.first else asked)
    if away is not None and together.first:
        run_copy.send(run_dir, away, MADE_FROM, PARAMS)
    if (done := _read(run_dir / DONE, Done)) is not None:
        return done.result(run_dir)
    task = chosen.task(crops_dir, multilabel=cfg.multilabel)
    # Not in the checkpoints: what does not change them.
    decisive = {name: value for name, value in kept.config.items() if name not in TrainConfig.inert}
    trained: dict[str, object] = {"config": decisive, "fingerprint": kept.fingerprint, "versions": kept.versions}
    if kept.crops is not None:
        trained["crops"] = kept.crops
    end = fit(
        task,
        cfg,
        Transform.from_dict(kept.transform),
        run_dir=run_dir,
        device=device,
        threads=kept.threads,
        trained=trained,
        log=log,
        start=start,
        processes=together,
        clock=clock,
        away=away,
    )
    scores = (None, end.best_score) if cfg.multilabel else (end.best_score, None)
    done = Done(f"checkpoints/{BEST}", end.best_epoch, scores[0], end.epoch, scores[1])
    if together.first:
        _write(run_dir / DONE, done)
        if away is not None:
            run_copy.send(run_dir, away, *run_copy.BESIDE, DONE)
    if end.epoch < (cfg.epochs or 0):
        log.note(f"stopped after epoch {end.epoch}: no better on val for {cfg.patience} epochs")
    return done.result(run_dir)


def starting_weights(cfg: TrainConfig, root: Path) -> Weights | None:
    """The weights that the configuration names, with the labels of their outputs where these can be known."""
    if cfg.weights is None:
        return None
    path = root / Path(cfg.weights).expanduser()
    beside = path.parent / LABEL_INDEX
    index = root / Path(cfg.weights_labels).expanduser() if cfg.weights_labels is not None else beside
    names = read_label_index(index) if cfg.weights_labels is not None or beside.exists() else None
    return weights.read(path, names)


def input_of(cfg: TrainConfig, own: Transform | None) -> Transform:
    """From a crop to the model's input.

    Args:
        own: Of the checkpoint that it starts from, if it does.
    """
    if own is None or cfg.weights is None:
        return transform_of(build(cfg.timm_name, 2, pretrained=False), cfg.image_size)
    return replace(own, image_size=cfg.image_size or own.image_size)


def _params(cfg: TrainConfig, chosen: Lesson, device: str, transform: Transform, crops: CropConfig | None) -> Params:
    """What this training is, with nothing left to a default."""
    return Params(
        config={**cfg.model_dump(), "image_size": transform.image_size, "device": device},
        labels=chosen.labels,
        train=chosen.counts("train"),
        val=chosen.counts("val"),
        fingerprint=fingerprint(chosen.content()),
        threads=cores.usable_cores(),
        transform=transform.as_dict(),
        versions={name: version(name) for name in ("trapline", "torch", "timm", "numpy", "pillow")},
        crops=crops.model_dump(mode="json", exclude=set(crops.inert)) if crops is not None else None,
        machine=provenance.machine(),
        code=provenance.code(),
    )


def _settle_params(run_dir: Path, found: Params | None, asked: Params, log: Log) -> Params:
    """Write params.json, or check that what it says is what is asked for; what decides the weights is kept.

    Raises:
        TraplineError: The folder holds another training; lists what differs.
    """
    path = run_dir / PARAMS
    if found is None:
        _write(path, asked)
        # As it will be read after a kill, to the identity of its strings: so checkpoints are equal byte by byte.
        return msgspec.json.decode(path.read_bytes(), type=Params)
    begun = {**recipes.BEFORE, **found.config}
    differ = [
        f"{name} is {begun.get(name)}, asked for {value}"
        for name, value in asked.config.items()
        if name not in {*TrainConfig.inert, "device"} and begun.get(name) != value
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
