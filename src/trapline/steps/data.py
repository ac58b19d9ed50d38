"""The steps from annotation files to splits. None of them loads torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import polars as pl

from trapline.core import config, label_rules, schemas
from trapline.core.addresses import NEEDED
from trapline.core.config import Section
from trapline.core.cores import usable_cores
from trapline.core.label_rules import LabelRules
from trapline.core.log import Log
from trapline.formats import corrections, label_map, label_spec, locations_csv, ms_classification
from trapline.io import tables
from trapline.io.layout import Layout
from trapline.io.ledger import Parts, file_digest, fingerprint, fingerprint_rows
from trapline.io.objects import Stores
from trapline.stages import crop as crop_stage
from trapline.stages import dataset as dataset_stage
from trapline.stages import fetch as fetch_stage
from trapline.stages import ingest as ingest_stage
from trapline.stages import leaks as leaks_stage
from trapline.stages import split as split_stage
from trapline.steps import streaming
from trapline.steps.step import Context, Made, write


def _annotation_files(context: Context) -> list[ingest_stage.AnnotationFile]:
    return [
        ingest_stage.AnnotationFile(name, context.layout.resolve(path), source.ready_made)
        for name, source in context.config.datasets.items()
        for path in source.annotations
    ]


def annotation_digests(context: Context, cfg: Section) -> dict[str, str]:
    inside = [(file.dataset, path) for file in _annotation_files(context) for path in _files_of(file.path)]
    digests = {f"{dataset}: {context.layout.shorten(path)}": file_digest(path) for dataset, path in inside}
    places = file_digest(context.layout.locations)
    return digests | ({"locations.csv": places} if context.layout.locations.exists() else {})


def _files_of(annotations: Path) -> list[Path]:
    """The file itself, or the tables and descriptor of a package in a folder."""
    if not annotations.is_dir():
        return [annotations]
    return sorted(path for path in annotations.iterdir() if path.suffix.casefold() in (".json", ".csv"))


def ingest(context: Context, cfg: Section, inputs: Mapping[str, str], log: Log) -> Made:
    """Annotation files -> images, locations, boxes, labels."""
    found = ingest_stage.ingest(_annotation_files(context), cast(config.IngestConfig, cfg), log=log)
    frames = {name: getattr(found, name) for name in ("images", "locations", "boxes", "labels")}
    frames["locations"] = _with_coordinates(found.locations, locations_csv.read(context.layout.locations), log)
    return Made(write(context, frames))


def _with_coordinates(locations: pl.DataFrame, given: pl.DataFrame, log: Log) -> pl.DataFrame:
    """Locations with the coordinates of locations.csv."""
    keys = ["dataset", "location_id"]
    stray = given.join(locations, on=keys, how="anti")
    if stray.height:
        log.warn(f"{stray.height} of {given.height} places of locations.csv are not known (first: {stray.row(0)[:2]}).")
    return locations.update(given, on=keys, how="left")


def fetch(context: Context, cfg: Section, inputs: Mapping[str, str], log: Log) -> Made:
    """Images -> files, fetch_failures.csv."""
    fetch_cfg = cast(config.FetchConfig, cfg)
    images, folders = context.table("images", NEEDED), context.folders()
    named_only = images.filter(~pl.col("dataset").is_in(list(folders)))
    stores = context.stores(fetch_cfg)
    left = streaming.left_in_store(images, stores, fetch_cfg)
    here = {name: folder for name, folder in folders.items() if not (fetch_cfg.stream and name in stores)}
    files = left
    if here or not left.height:
        found = fetch_stage.fetch(
            images.filter(pl.col("dataset").is_in(list(here))),
            here,
            root=context.layout.root,
            log=log,
            stores={} if fetch_cfg.stream else stores,
            cfg=fetch_cfg,
            parts=Parts(context.layout.parts("fetch")),
            engine=context.engine,
        )
        files = pl.concat([found, left])
    if left.height:
        log.note(f"{left.height:,} images are streamed: crop reads each from its store, and none is kept")
    failed = files.drop_nulls("failure").join(images, on="image_id").sort("dataset", "file_name")
    path = context.layout.root / "fetch_failures.csv"
    tables.save_csv(path, failed.select("image_id", "file_name", "failure"))
    remote = failed.filter(pl.col("dataset").is_in(list(stores))).height
    if failed.height:
        again = "; to try just those again: trapline fetch --retry-failed" if remote else ""
        log.note(f"all {failed.height:,} are in {path.name}{again}")
    if named_only.height:
        log.note(f"{named_only.height} crops are known by name only: enough to split, not to train.")
        bare = named_only.select("image_id", failure=pl.lit(schemas.NO_PICTURE))
        files = pl.concat([files, bare], how="diagonal")
    outputs = write(context, {"files": files})
    return Made(outputs, {"failed_images": failed.height, "failed_remote": remote}, files_stamp(context, cfg))


def files_stamp(context: Context, cfg: Section) -> dict[str, str]:
    """Of images in folders: which files there are, and since when; of fetched ones, how many are no longer there."""
    if not context.layout.table("images").exists():
        return {}
    folders, stores = context.folders(), context.stores(cast(config.FetchConfig, cfg))
    found = {}
    images = context.table("images", NEEDED).filter(pl.col("dataset").is_in(list(folders)))
    away = pl.col("dataset").is_in(list(stores))
    if len(folders) > len(stores):
        stamps = fetch_stage.stamp(images.filter(~away), folders, root=context.layout.root)
        found["image files"] = fingerprint(stamps)
    if stores:
        found["image stores"] = fingerprint(sorted(stores.items()))
        gone = 0
        if context.layout.table("files").exists():
            files = context.table("files").join(images.filter(away), on="image_id", how="semi").drop_nulls("bytes")
            gone = fetch_stage.gone(files, root=context.layout.root)
        found["fetched files"] = f"{gone} gone" if gone else "all there"
    return found


def crop(context: Context, cfg: Section, inputs: Mapping[str, str], log: Log) -> Made:
    """Files and boxes -> crops."""
    crop_cfg = cast(config.CropConfig, cfg)
    streamed = streaming.settings(context)
    crops = crop_stage.crop(
        crop_stage.units(
            context.table("images", ("image_id", "dataset", "file_name", "width_px", "height_px")),
            context.table("files", ("image_id", "path", "checksum", "failure")),
            context.table("boxes"),
            remote=streaming.remote(context, streamed) if streamed else None,
        ),
        crop_cfg,
        crops_dir=context.storage.crops,
        root=context.layout.root,
        parts=context.storage.parts("crop"),
        workers=crop_cfg.num_workers or usable_cores(),
        log=log,
        read_remote=Stores(streamed).read if streamed else None,
        engine=context.engine,
    )
    digest = fingerprint_rows(crops.select("crop_id", "checksum", "failure").sort("crop_id"))
    outputs = write(context, {"crops": crops}) | {"crops": digest}
    failed = crop_stage.failed_images(crops)
    named = failed.join(context.table("images", ("image_id", "file_name")), on="image_id", how="left")
    path = context.layout.root / "failures.csv"
    tables.save_csv(path, named.select("image_id", "file_name", "failure"))
    if failed.height:
        log.warn(f"{failed.height} images failed; each is in {path.name} with its reason.")
    return Made(outputs, {"failed_images": failed.height})


def storage_stamp(context: Context, cfg: Section) -> dict[str, str]:
    """Where crops are to lie, if not in the project."""
    return context.storage.stamp()


def dataset(context: Context, cfg: Section, inputs: Mapping[str, str], log: Log) -> Made:
    """Images, crops, labels, corrections -> examples, classification_ds.csv, label_index.json."""
    crops, labels, boxes = context.table("crops"), context.table("labels"), context.table("boxes")
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
        boxes=boxes,
        log=log,
    )
    outputs = write(context, {"examples": examples})
    confidence = ms_classification.confidence(crops, labels, boxes)
    folder = context.layout.dataset
    ms_classification.write_dataset_csv(folder / "classification_ds.csv", examples, confidence)
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


def dataset_digests(context: Context, cfg: Section) -> dict[str, str]:
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
    kept = None
    if split_cfg.match_splits is not None:
        kept = ms_classification.read_all_splits(context.layout.resolve(split_cfg.match_splits))
    splits = split_stage.split(examples, split_cfg, former_test=former, former_splits=kept, twins=twins, log=log)
    leaks = leaks_stage.leaks(twins, splits, log=log)
    outputs = write(context, {"splits": splits, "leaks": leaks})
    tables.save_csv(context.layout.root / "leaks.csv", leaks)
    ms_classification.write_splits(context.layout.dataset / "splits.json", examples, splits)
    return Made(outputs)


def former_split_digest(context: Context, cfg: Section) -> dict[str, str]:
    split_cfg = cast(config.SplitConfig, cfg)
    named = (split_cfg.match_test, split_cfg.match_splits)
    return {path: file_digest(context.layout.resolve(path)) for path in named if path is not None}
