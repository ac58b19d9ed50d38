"""One step per stage: read its tables, call it, write what it returns. The only glue between stages and disk.

Torch is imported inside the three steps that compute, so that `status` and the light stages never wait for it.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import polars as pl

from trapline.core import config, label_rules, schemas
from trapline.core.config import ProjectConfig, Section
from trapline.core.errors import InputError, TraplineError
from trapline.core.folds import folds_of, held_out, rotate
from trapline.core.label_rules import LabelRules
from trapline.core.log import Log
from trapline.formats import corrections, label_map, label_spec, locations_csv, ms_classification
from trapline.io import tables
from trapline.io.layout import Layout
from trapline.io.ledger import Parts, Records, file_digest, fingerprint
from trapline.io.runs import find_or_begin_run, made_from
from trapline.stages import crop as crop_stage
from trapline.stages import dataset as dataset_stage
from trapline.stages import fetch as fetch_stage
from trapline.stages import ingest as ingest_stage
from trapline.stages import leaks as leaks_stage
from trapline.stages import split as split_stage


@dataclass(frozen=True)
class Context:
    """What a step may touch: the project's paths, configuration and records."""

    layout: Layout
    config: ProjectConfig
    records: Records

    def table(self, name: str) -> pl.DataFrame:
        """A whole-frame stage's table."""
        return tables.read(self.layout.table(name))

    def folders(self) -> dict[str, Path]:
        """Dataset -> folder of its images, relative to the project where it lies inside it.

        Datasets of ready-made crops that are known by name only have none.
        """
        every = self.config.datasets.items()
        sources = [(name, source) for name, source in every if source.images or not source.is_ready_made]
        return {name: Path(self.layout.shorten(self.layout.images(name, source.images))) for name, source in sources}


@dataclass(frozen=True)
class Made:
    """What a step made: table (or thing) -> fingerprint of its content, and facts for status."""

    outputs: dict[str, str]
    facts: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """How a stage sits in a project.

    Args:
        reads: Names of the outputs of earlier steps it depends on.
        run: Does the work; commits all files before it returns.
        outside: Fingerprints of inputs that no step makes (annotation files, image folders, corrections), some of
            them named by the stage's settings.
    """

    reads: tuple[str, ...]
    run: Callable[[Context, Section, Mapping[str, str], Log], Made]
    outside: Callable[[Context, Section], dict[str, str]] = lambda context, cfg: {}


def _write(context: Context, frames: Mapping[str, pl.DataFrame]) -> dict[str, str]:
    """Write tables and return their digests."""
    for name, frame in frames.items():
        tables.write(context.layout.table(name), frame, schemas.TABLES[name])
    return {name: file_digest(context.layout.table(name)) for name in frames}


def _annotation_files(context: Context) -> list[ingest_stage.AnnotationFile]:
    return [
        ingest_stage.AnnotationFile(name, context.layout.resolve(path))
        for name, source in context.config.datasets.items()
        for path in source.annotations
    ]


def _annotation_digests(context: Context, cfg: Section) -> dict[str, str]:
    files = _annotation_files(context)
    digests = {f"{file.dataset}: {context.layout.shorten(file.path)}": file_digest(file.path) for file in files}
    places = file_digest(context.layout.locations)
    return digests | ({"locations.csv": places} if context.layout.locations.exists() else {})


def ingest(context: Context, cfg: Section, inputs: Mapping[str, str], log: Log) -> Made:
    """Annotation files -> images, locations, boxes, labels."""
    found = ingest_stage.ingest(_annotation_files(context), cast(config.IngestConfig, cfg), log=log)
    frames = {name: getattr(found, name) for name in ("images", "locations", "boxes", "labels")}
    frames["locations"] = _with_coordinates(found.locations, locations_csv.read(context.layout.locations), log)
    return Made(_write(context, frames))


def _with_coordinates(locations: pl.DataFrame, given: pl.DataFrame, log: Log) -> pl.DataFrame:
    """Locations with the coordinates of locations.csv."""
    keys = ["dataset", "location_id"]
    stray = given.join(locations, on=keys, how="anti")
    if stray.height:
        log.warn(f"{stray.height} of {given.height} places of locations.csv are not known (first: {stray.row(0)[:2]}).")
    return locations.update(given, on=keys, how="left")


def fetch(context: Context, cfg: Section, inputs: Mapping[str, str], log: Log) -> Made:
    """Images -> files."""
    images = context.table("images")
    folders = context.folders()
    named_only = images.filter(~pl.col("dataset").is_in(list(folders)))
    files = fetch_stage.fetch(
        images.join(named_only, on="image_id", how="anti"), folders, root=context.layout.root, log=log
    )
    if named_only.height:
        log.note(f"{named_only.height} crops are known by name only: enough to split, not to train.")
        bare = named_only.select("image_id", failure=pl.lit(schemas.NO_PICTURE))
        files = pl.concat([files, bare], how="diagonal")
    return Made(_write(context, {"files": files}))


def _files_stamp(context: Context, cfg: Section) -> dict[str, str]:
    if not context.layout.table("images").exists():
        return {}
    folders = context.folders()
    images = context.table("images").filter(pl.col("dataset").is_in(list(folders)))
    found = fetch_stage.stamp(images, folders, root=context.layout.root)
    return {"image files": fingerprint(found)}


def crop(context: Context, cfg: Section, inputs: Mapping[str, str], log: Log) -> Made:
    """Files and boxes -> crops."""
    crop_cfg = cast(config.CropConfig, cfg)
    crops = crop_stage.crop(
        context.table("images"),
        context.table("files"),
        context.table("boxes"),
        crop_cfg,
        crops_dir=context.layout.crops,
        root=context.layout.root,
        parts=Parts(context.layout.parts("crop")),
        workers=crop_cfg.num_workers or os.cpu_count() or 1,
        log=log,
    )
    digest = fingerprint(crops.sort("crop_id").select("crop_id", "checksum", "failure").rows())
    outputs = _write(context, {"crops": crops}) | {"crops": digest}
    failed = crop_stage.failed_images(crops)
    named = failed.join(context.table("images").select("image_id", "file_name"), on="image_id", how="left")
    path = context.layout.root / "failures.csv"
    tables.save_csv(path, named.select("image_id", "file_name", "failure"))
    if failed.height:
        log.warn(f"{failed.height} images failed; each is in {path.name} with its reason.")
    return Made(outputs, {"failed_images": failed.height})


def dataset(context: Context, cfg: Section, inputs: Mapping[str, str], log: Log) -> Made:
    """Images, crops, labels, corrections -> examples, classification_ds.csv, label_index.json."""
    crops, labels = context.table("crops"), context.table("labels")
    decided = corrections.read(context.layout.corrections)
    dataset_cfg = cast(config.DatasetConfig, cfg)
    examples = dataset_stage.dataset(
        context.table("images"),
        crops,
        labels,
        decided,
        dataset_cfg,
        rules=label_rules_of(context.layout, dataset_cfg),
        locations=context.table("locations"),
        log=log,
    )
    outputs = _write(context, {"examples": examples})
    boxed = labels.drop_nulls("box_id").group_by("box_id").agg(pl.col("source_label").first())
    confidence = (
        crops.select("crop_id", "box_id")
        .join(boxed, on="box_id")
        .join(context.table("boxes").select("box_id", "conf"), on="box_id")
    )
    folder = context.layout.dataset
    ms_classification.write_dataset_csv(folder / "classification_ds.csv", examples, confidence.drop("box_id"))
    counts = dataset_stage.label_counts(examples)
    ms_classification.write_label_index(folder / "label_index.json", counts["label"].to_list())
    log.note("; ".join(f"{label} {n}" for label, n in counts.select("label", "crops").iter_rows()))
    return Made(outputs)


def label_rules_of(layout: Layout, cfg: config.DatasetConfig) -> LabelRules:
    """What becomes of source labels: the specification, or the label map file with trapline.yaml's own map over it."""
    if cfg.label_spec is not None:
        return label_spec.read(layout.resolve(cfg.label_spec), layout.resolve(cfg.taxonomy) if cfg.taxonomy else None)
    names = label_map.read(layout.resolve(cfg.label_map_file)) if cfg.label_map_file is not None else {}
    return label_rules.from_map({**names, **cfg.label_map})


def _dataset_digests(context: Context, cfg: Section) -> dict[str, str]:
    dataset_cfg = cast(config.DatasetConfig, cfg)
    named = (dataset_cfg.label_map_file, dataset_cfg.label_spec, dataset_cfg.taxonomy)
    files = {path: file_digest(context.layout.resolve(path)) for path in named if path is not None}
    return {"corrections.csv": file_digest(context.layout.corrections), **files}


def split(context: Context, cfg: Section, inputs: Mapping[str, str], log: Log) -> Made:
    """Examples -> splits, splits.json."""
    split_cfg = cast(config.SplitConfig, cfg)
    examples = context.table("examples")
    twins = leaks_stage.twins(examples, context.table("crops"), log=log)
    former = None
    if split_cfg.match_test is not None:
        former = ms_classification.read_splits(context.layout.resolve(split_cfg.match_test), "test")
    splits = split_stage.split(examples, split_cfg, former_test=former, twins=twins, log=log)
    leaks = leaks_stage.leaks(twins, splits, log=log)
    outputs = _write(context, {"splits": splits, "leaks": leaks})
    tables.save_csv(context.layout.root / "leaks.csv", leaks)
    ms_classification.write_splits(context.layout.dataset / "splits.json", examples, splits)
    return Made(outputs)


def _former_split_digest(context: Context, cfg: Section) -> dict[str, str]:
    path = cast(config.SplitConfig, cfg).match_test
    return {path: file_digest(context.layout.resolve(path))} if path is not None else {}


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
    parts = Parts(context.layout.parts("embed"))
    embeddings = embed_stage(crops, cast(config.EmbedConfig, cfg), crops_dir=context.layout.crops, parts=parts, log=log)
    tables.write(context.layout.table("embeddings"), embeddings, schemas.EMBEDDINGS)
    return Made({"embeddings": fingerprint([used.rows(), cfg.model_dump(mode="json")])})


def train(context: Context, cfg: Section, inputs: Mapping[str, str], log: Log) -> Made:
    """Examples and splits -> a run with checkpoints. Continues an interrupted run made from the same inputs."""
    _require_pictures(context)
    from trapline.stages.train import train as train_stage

    train_cfg = cast(config.TrainConfig, cfg)
    splits = context.table("splits")
    whole = run_fingerprint(cfg, inputs)
    turns = [(splits, whole)]
    if folds := folds_of(splits):  # the first turn is the split itself: the same run as without folds
        turns += [(rotate(splits, fold), fingerprint([whole, fold])) for fold in folds[1:]]
    found = []
    for number, (turn, made) in enumerate(turns):
        run_dir = find_or_begin_run(context.layout.runs, train_cfg.timm_name, made, inputs)
        log.note(f"run {run_dir.name}" + (f" (fold {number} of {len(turns)} held out)" if folds else ""))
        result = train_stage(
            context.table("examples"), turn, train_cfg, crops_dir=context.layout.crops, run_dir=run_dir, log=log
        )
        found.append((run_dir.name, file_digest(result.checkpoint)))
    names = [name for name, _ in found]
    return Made({"run": fingerprint([digest for _, digest in found])}, {"run": names[0], "runs": names})


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
        run_dir = context.layout.run(name)
        checkpoint = run_dir / "checkpoints" / "best.pt"
        parts = Parts(run_dir / "predictions")
        tables_of_runs.append(
            predict_stage(checkpoint, wanted, predict_cfg, crops_dir=context.layout.crops, parts=parts, log=log)
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
    metrics = evaluate_stage(
        tables.read(run_dir / "predictions.parquet"),
        context.table("examples"),
        splits,
        cast(config.EvaluateConfig, cfg),
        run_dir=run_dir,
        crops_dir=context.layout.crops,
        log=log,
    )
    outputs = _write(context, {"metrics": metrics})
    return Made(outputs, {"run": run_dir.name, "report": context.layout.shorten(run_dir / "report.html")})


STEPS = {
    "ingest": Step((), ingest, _annotation_digests),
    "fetch": Step(("images",), fetch, _files_stamp),
    "crop": Step(("images", "files", "boxes"), crop),
    "dataset": Step(("images", "crops", "boxes", "labels", "locations"), dataset, _dataset_digests),
    "split": Step(("examples", "crops"), split, _former_split_digest),
    "embed": Step(("examples", "crops"), embed),
    "train": Step(("examples", "splits", "crops"), train),
    "predict": Step(("run", "examples", "crops"), predict),
    "evaluate": Step(("predictions", "examples", "splits"), evaluate),
}
