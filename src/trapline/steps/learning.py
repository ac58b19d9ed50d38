"""The steps that compute with a model, and the evaluation of what it says.

Torch is imported inside them, so that `status` and the light stages never wait for it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import polars as pl

from trapline.core import config, schemas, torchrun
from trapline.core.config import Section
from trapline.core.errors import InputError, TraplineError
from trapline.core.folds import folds_of, held_out, rotate
from trapline.core.log import Log
from trapline.formats import taxonomy_csv
from trapline.io import run_copy, tables
from trapline.io.ledger import file_digest, fingerprint
from trapline.io.runs import find_or_begin_run, made_from
from trapline.io.storage import Storage
from trapline.steps.step import Context, Made, write

if TYPE_CHECKING:
    from trapline.learn.clock import Clock
    from trapline.stages.train import TrainResult


def _require_pictures(context: Context) -> None:
    """Raise where examples are known by name only (a project from a classification_ds.csv without its crops)."""
    crops = context.table("crops").filter(pl.col("path").is_null() & pl.col("failure").is_null())
    bare = context.table("examples").join(crops, on="crop_id", how="semi")
    if bare.height:
        raise InputError(
            f"{bare.height} examples have no picture (first: {bare['crop_id'][0]}): this project knows its crops by "
            "name only, which is enough to split. Name the folder of the crops as `images:` of the dataset in "
            f"trapline.yaml, or make the project again: trapline init DIR --dataset-csv FILE --images CROPS_DIR."
        )


def _usable_crops(context: Context) -> pl.DataFrame:
    """crop_id and checksum of every crop that an example uses."""
    _require_pictures(context)
    crops = context.table("crops").select("crop_id", fingerprint="checksum")
    return context.table("examples").select("crop_id").join(crops, on="crop_id", how="left", maintain_order="left")


def embed(context: Context, cfg: Section, inputs: Mapping[str, str], log: Log) -> Made:
    """Crops -> embeddings."""
    from trapline.stages.embed import embed as embed_stage

    used = _usable_crops(context)
    crops = context.table("crops").join(used.select("crop_id"), on="crop_id", how="semi")
    embed_cfg, at = cast(config.EmbedConfig, cfg), context.storage
    embeddings = embed_stage(
        crops, embed_cfg, crops_dir=at.crops, parts=at.parts("embed"), log=log, engine=context.engine
    )
    tables.write(context.layout.table("embeddings"), embeddings, schemas.EMBEDDINGS)
    return Made({"embeddings": fingerprint([used.rows(), cfg.model_dump(mode="json")])})


def train(context: Context, cfg: Section, inputs: Mapping[str, str], log: Log) -> Made:
    """Examples and splits -> a run with checkpoints. Continues an interrupted run made from the same inputs."""
    _require_pictures(context)
    from trapline.learn.clock import Clock

    train_cfg = cast(config.TrainConfig, cfg)
    splits = context.table("splits")
    whole = run_fingerprint(cfg, inputs)
    turns = [(splits, whole)]
    if folds := folds_of(splits):  # the first turn is the split itself: the same run as without folds
        turns += [(rotate(splits, fold), fingerprint([whole, fold])) for fold in folds[1:]]
        train_cfg = train_cfg.model_copy(update={"unlearnable": "keep"})  # a rare label's fold is held out once
    found = []
    clock = Clock(train_cfg.time_budget_s)
    if (away := context.storage.runs()) is not None:
        run_copy.adopt(context.layout.runs, away)
    for number, (turn, made) in enumerate(turns):
        run_dir = find_or_begin_run(context.layout.runs, train_cfg.timm_name, made, inputs)
        if away is not None:
            run_copy.bring(run_dir, away.inside(run_dir.name))
        log.note(f"run {run_dir.name}" + (f" (fold {number} of {len(turns)} held out)" if folds else ""))
        _tell_others(train_cfg, (run_dir.name, turn.to_dicts(), train_cfg.model_dump(mode="json")))
        result = _train_run(context, turn, train_cfg, run_dir, clock, log)
        found.append((run_dir.name, file_digest(result.checkpoint)))
    names = [name for name, _ in found]
    return Made({"run": fingerprint([digest for _, digest in found])}, {"run": names[0], "runs": names})


def _train_run(
    context: Context, splits: pl.DataFrame, cfg: config.TrainConfig, run_dir: Path, clock: "Clock", log: Log
) -> "TrainResult":
    training = _Training(context.table("examples"), splits, cfg, run_dir, context.storage, _how_cropped(context))
    context.engine.together(training, log)
    return training.train(log, clock)  # where others did it, there is nothing left but to say what came of it


@dataclass(frozen=True)
class _Training:
    """One run's training, for whoever does it."""

    examples: pl.DataFrame
    splits: pl.DataFrame
    cfg: config.TrainConfig
    folder: Path
    storage: Storage
    crops: config.CropConfig | None

    def train(self, log: Log, clock: "Clock | None" = None) -> "TrainResult":
        from trapline.stages.train import train as train_stage

        return train_stage(
            self.examples,
            self.splits,
            self.cfg,
            crops_dir=self.storage.crops,
            run_dir=self.folder,
            log=log,
            root=self.storage.layout.root,
            clock=clock,
            crops=self.crops,
            away=self.storage.run(self.folder.name),
        )

    def run(self, log: Log) -> TraplineError | None:
        from trapline.learn.clock import TimeIsUp

        try:
            self.train(log)
        except TimeIsUp as ended:
            return ended
        return None


def _how_cropped(context: Context) -> config.CropConfig | None:
    """The settings that the present crops were made with."""
    record = context.records.read("crop")
    return config.CropConfig.model_validate(record.config) if record is not None else None


Told = tuple[str, list[dict[str, object]], dict[str, object]]  # run, SPLITS rows, options


def _tell_others(cfg: config.TrainConfig, told: Told | None) -> Told | None:
    """What the first process says to those that torchrun started beside it; returned by all."""
    from trapline.learn import device, processes

    return processes.join(device.resolve(cfg.device)).from_first(told)


def is_beside() -> bool:
    """Whether torchrun started this process beside a first one."""
    return torchrun.place()[0] > 0


def train_beside(context: Context, cfg: config.TrainConfig) -> None:
    """Train along with the first process, for every run that it names, until it lets this one go."""
    from trapline.learn.clock import Clock

    clock = Clock(cfg.time_budget_s)
    while (told := _tell_others(cfg, None)) is not None:
        name, turn, options = told
        splits = pl.DataFrame(turn, schema=schemas.SPLITS.columns)
        own = config.TrainConfig.model_validate(options)
        _train_run(context, splits, own, context.layout.run(name), clock, Log())


def let_others_go(cfg: config.TrainConfig) -> None:
    """End `train_beside` in the processes that torchrun started beside this one, if any."""
    if torchrun.place()[1] > 1:
        _tell_others(cfg, None)


def weights_digest(context: Context, cfg: Section) -> dict[str, str]:
    """Of the files of weights that a training starts from, if any."""
    train_cfg = cast(config.TrainConfig, cfg)
    named = [path for path in (train_cfg.weights, train_cfg.weights_labels) if path is not None]
    return {path: file_digest(context.layout.resolve(path)) for path in named}


def run_fingerprint(cfg: Section, inputs: Mapping[str, str]) -> str:
    """What a training run is made from; a run with the same fingerprint is continued, not begun again."""
    return fingerprint([cfg.model_dump(mode="json", exclude=set(cfg.inert)), dict(inputs)])


def predict(context: Context, cfg: Section, inputs: Mapping[str, str], log: Log) -> Made:
    """A run's best checkpoint and crops -> predictions."""
    from trapline.stages.predict import predict as predict_stage

    predict_cfg = cast(config.PredictConfig, cfg)
    crops = _usable_crops(context)
    tables_of_runs, digests = [], []
    for name, wanted in _runs_to_predict(context, predict_cfg, crops):
        checkpoint = context.storage.checkpoint(name)
        parts = context.storage.predictions(name)
        tables_of_runs.append(
            predict_stage(
                checkpoint,
                wanted,
                predict_cfg,
                crops_dir=context.storage.crops,
                parts=parts,
                log=log,
                engine=context.engine,
            )
        )
        digests.append((name, file_digest(checkpoint)))
    first = digests[0][0]
    tables.write(context.layout.run(first) / "predictions.parquet", pl.concat(tables_of_runs), schemas.PREDICTIONS)
    return Made({"predictions": fingerprint([digests, crops.rows()])}, {"run": first})


def _runs_to_predict(
    context: Context, cfg: config.PredictConfig, crops: pl.DataFrame
) -> list[tuple[str, pl.DataFrame]]:
    """Each run and the crops it is to score: all, or with folds those of the places it has not seen."""
    record = context.records.read("train")
    if cfg.run is not None:
        _check_run(context, cfg.run)
        return [(cfg.run, crops)]
    if record is None:
        raise TraplineError("there is no finished training run yet. Make one with `trapline train`.")
    names = cast(list[str], record.facts["runs"])
    if len(names) == 1:
        return [(names[0], crops)]
    folds = context.table("examples").select("crop_id", "group_id")
    folds = folds.join(context.table("splits").select("group_id", "fold"), on="group_id", how="left")
    unseen = [folds.filter(pl.col("fold") == fold) for fold in folds_of(context.table("splits"))]
    return [
        (name, crops.join(turn.select("crop_id"), on="crop_id", how="semi", maintain_order="left"))
        for name, turn in zip(names, unseen, strict=True)
    ]


def _check_run(context: Context, name: str) -> None:
    """Raise unless the run is finished and was trained on the present splits: else its scores would flatter it."""
    finished = sorted(path.parent.name for path in context.layout.runs.glob("*/done.json"))
    if name not in finished:
        raise TraplineError(f"run {name} is not a finished run. Finished: {', '.join(finished) or 'none'}.")
    record = context.records.read("split")
    now = record.outputs.get("splits") if record else None
    if made_from(context.layout.run(name)).get("splits") != now:
        raise TraplineError(
            f"run {name} was trained on other splits: cameras of the present test split may be among what it learnt "
            "from. Make those splits again (see its params.json), or train anew."
        )


def evaluate(context: Context, cfg: Section, inputs: Mapping[str, str], log: Log) -> Made:
    """Predictions -> metrics, the field's files, report.html."""
    from trapline.stages.evaluate import evaluate as evaluate_stage

    record = context.records.read("predict")
    run_dir = context.layout.run(str(record.facts["run"] if record else ""))
    splits = context.table("splits")
    if record is not None and record.config.get("run") is None and folds_of(splits):
        splits = held_out(splits)
    evaluate_cfg = cast(config.EvaluateConfig, cfg)
    taxonomy = taxonomy_csv.read(context.layout.resolve(evaluate_cfg.taxonomy)) if evaluate_cfg.taxonomy else None
    metrics = evaluate_stage(
        tables.read(run_dir / "predictions.parquet"),
        context.table("examples"),
        splits,
        evaluate_cfg,
        taxonomy=taxonomy,
        run_dir=run_dir,
        crops_dir=context.storage.crops,
        log=log,
    )
    outputs = write(context, {"metrics": metrics})
    return Made(outputs, {"run": run_dir.name, "report": context.layout.shorten(run_dir / "report.html")})


def taxonomy_digest(context: Context, cfg: Section) -> dict[str, str]:
    path = cast(config.EvaluateConfig, cfg).taxonomy
    return {path: file_digest(context.layout.resolve(path))} if path is not None else {}
