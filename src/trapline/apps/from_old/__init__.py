"""`trapline init --from-old`: a tree of the old chain becomes a project that goes on where the old one stood."""

import shutil
import tempfile
from pathlib import Path

import polars as pl

from trapline.apps.from_old.points import COLUMNS, Point, exports_of, points
from trapline.apps.from_old.tree import INDEX, LISTED, SPLITS, OldTree, find
from trapline.apps.init import init
from trapline.core.errors import InputError
from trapline.core.log import Log
from trapline.formats import json_file, ms_classification, recognise
from trapline.io import project_file, tables
from trapline.io.layout import Layout
from trapline.project import Project

ARCHIVE, SERVING = (
    "s3://animl-images-archive-prod",
    "s3://animl-images-serving-prod",
)  # where the old script fetched from


def from_old(directory: str | Path, base: str | Path, *, log: Log | None = None) -> Project:
    """Make a project from the furthest complete step of an old tree.

    A step is complete when everything that it names is on disk and whole. Crops are taken as they are (hard links where
    the disk is the same); nothing of the old tree is changed. Where no step is complete, the one that is nearest to it
    is taken, and what is missing is a failure of the next run, image by image. A splits.json is kept whole.

    Args:
        directory: The project folder; there may be no project in it.
        base: The folder with mdcache/, images/, crops/ and a BASE_LOGDIR somewhere below it.

    Raises:
        InputError: There is nothing of the old chain, a file of it cannot be used, or `directory` is a project.
    """
    log = log or Log()
    layout = Layout(Path(directory).expanduser().resolve())
    if layout.config.exists():
        raise InputError(f"{layout.root} is a project already. Make another folder for what the old chain left.")
    tree = find(Path(base).expanduser().resolve())
    found = points(tree)
    for point in found:
        log.note(str(point))
    for other in tree.others:
        log.note(f"{other} is left alone: {tree.logdir} is newer (make a project of it with --dataset-csv)")
    chosen = _furthest(tree, found, log)
    log.note(f"going on from {chosen.name}")
    project = _from_crops(layout, tree, chosen, log) if chosen.crops is not None else _from_images(layout, tree, log)
    _say_what_is_left(tree, chosen, found, log)
    return Project(project.layout.root, log)


def _furthest(tree: OldTree, found: list[Point], log: Log) -> Point:
    """The furthest complete step; without one the step that misses least; where nothing is on disk, the exports."""
    for point in found:
        if point.complete:
            return point
    if not found:
        raise InputError(f"the files of the old chain in {tree.base} list no image and no crop.")
    begun = [point for point in found if point.share > 0]
    if not begun:
        log.warn("neither images nor crops are on disk.")
        return found[-1]
    chosen = min(begun, key=lambda point: len(point.missing))
    log.warn(
        f"no step is complete. {chosen.name} is nearest to it; {len(chosen.missing):,} of its {chosen.listed:,} "
        f"{chosen.what} are not on disk or not whole (first: {chosen.missing[0]}) and will be failures."
    )
    return chosen


def _from_crops(layout: Layout, tree: OldTree, chosen: Point, log: Log) -> Project:
    """A project of ready-made crops; it needs no image any more."""
    assert chosen.crops is not None
    there = chosen.share > 0
    splits = tree.file(SPLITS)
    if chosen.name == LISTED:
        _compare_labels(tree, chosen.crops, log)
        project = init(layout.root, images=tree.crops if there else None, dataset_csv=tree.file(LISTED), log=log)
    else:
        with tempfile.TemporaryDirectory() as folder:
            tables.save_csv(Path(folder) / LISTED, chosen.crops.select(COLUMNS))
            if splits:
                shutil.copyfile(splits, Path(folder) / SPLITS)
            project = init(
                layout.root, images=tree.crops if there else None, dataset_csv=Path(folder) / LISTED, log=log
            )
    if splits:
        _keep_splits(layout, splits, chosen.crops, log)
    return project


def _from_images(layout: Layout, tree: OldTree, log: Log) -> Project:
    """A project of exports and full-size images; the crops are made again."""
    project = None
    for dataset in sorted({*tree.exports, *tree.converted}):
        exports = exports_of(tree, dataset)
        folder = tree.images / dataset if tree.images and (tree.images / dataset).is_dir() else None
        project = init(layout.root, exports, folder or _bucket(exports[0], dataset), dataset, log=log)
    assert project is not None
    if splits := tree.file(SPLITS):
        target = layout.root / "annotations" / SPLITS
        shutil.copyfile(splits, target)
        project.run(until="ingest")
        _keep_splits(layout, splits, project.table("images").select("dataset", location="location_id"), log)
    return project


def _bucket(export: Path, dataset: str) -> str:
    """Where Animl keeps the images of an export: its older layout names keys of the archive, today's its own."""
    keys = recognise.read(export, dataset).images["uri"].drop_nulls()
    return SERVING if keys.len() else ARCHIVE


def _keep_splits(layout: Layout, splits: Path, places: pl.DataFrame, log: Log) -> None:
    """Have `split` keep the former splits, where they know places of this project."""
    former = ms_classification.read_all_splits(splits)
    known = former.join(places.select("dataset", "location").unique(), on=["dataset", "location"], how="semi")
    if not known.height:
        log.warn(f"{splits} names none of these places: its splits are not kept.")
        return
    project_file.set_values(layout.config, "split", {"match_splits": f"annotations/{SPLITS}"})
    log.note(f"the former splits are kept ({known.height} of {former.height} places): `split: match_splits`")


def _compare_labels(tree: OldTree, crops: pl.DataFrame, log: Log) -> None:
    """Say where label_index.json and classification_ds.csv disagree."""
    if (path := tree.file(INDEX)) is None:
        return
    index = set(json_file.decode(path, dict[str, str], 'a label_index.json: {"0": label, ...}').values())
    labels = set(crops["label"].str.split(",").explode().str.strip_chars().drop_nulls()) - {""}
    for what, names in (("only in label_index.json", index - labels), ("not in label_index.json", labels - index)):
        if names:
            log.warn(f"{len(names)} labels are {what}: {', '.join(sorted(names)[:5])}. The labels of {LISTED} count.")


def _say_what_is_left(tree: OldTree, chosen: Point, found: list[Point], log: Log) -> None:
    fuller = [point for point in found if point.what == "crops" and point.listed > chosen.listed and point.complete]
    if chosen.what == "crops" and fuller:
        most = max(fuller, key=lambda point: point.listed)
        log.note(f"{most.name} has {most.listed - chosen.listed:,} more crops, which the old chain left out on the way")
    if chosen.crops is not None:
        left = sorted({*tree.exports, *tree.converted} - set(chosen.crops["dataset"]))
        if left:
            log.warn(
                f"{len(left)} datasets are not in {chosen.name} and were left out: {', '.join(left)}. Add one with "
                f"trapline init DIR --annotations {exports_of(tree, left[0])[0]} --dataset {left[0]} --images FOLDER"
            )
    if tree.checkpoints:
        log.note(
            f"{len(tree.checkpoints)} checkpoints of the old chain stay where they are (first: {tree.checkpoints[0]}); "
            "start from one of them with trapline train --weights FILE"
        )
