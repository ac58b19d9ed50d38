"""`trapline labels`: what becomes of every source label and why, and a label map to start from."""

import re
from pathlib import Path

import polars as pl

from trapline.core import schemas
from trapline.core.config import DatasetConfig
from trapline.core.errors import InputError
from trapline.core.log import Log
from trapline.formats import corrections, label_map
from trapline.project import Project
from trapline.stages.dataset import OTHER, decide
from trapline.steps import label_rules_of

NO_BOX = "no box: names whole images only"


def labels(project: Project) -> pl.DataFrame:
    """What becomes of every source label with the project's settings. Reads annotations if need be; makes no crop.

    Returns:
        label (as the annotator wrote it), images, boxes, locations, sequences, share (of all boxes), becomes (the
        labels its boxes get, "" for none), why; most boxes first.

    Raises:
        InputError: As `trapline ingest`, or a label map or specification that cannot be read.
    """
    project.run(until="ingest")
    images, boxes, found = project.table("images"), project.table("boxes"), project.table("labels")
    cfg = project.config.dataset
    every = found.join(images.select("image_id", "dataset", "location_id", "sequence_id"), on="image_id", how="left")
    counted = every.group_by("source_label").agg(
        images=pl.col("image_id").n_unique(),
        boxes=pl.col("box_id").drop_nulls().n_unique(),
        locations=pl.struct("dataset", "location_id").filter(pl.col("location_id").is_not_null()).n_unique(),
        sequences=pl.col("sequence_id").n_unique(),
    )
    rules = label_rules_of(project.layout, cfg)
    decided = decide(
        images,
        _as_crops(boxes),
        found,
        corrections.read(project.layout.corrections),
        cfg,
        rules=rules,
        locations=project.table("locations"),
        log=Log(),
    )
    fates = _fates(found, decided, cfg)
    total = max(boxes.height, 1)
    return (
        counted.join(fates, on="source_label", how="left")
        .with_columns(
            share=pl.col("boxes") / total, becomes=pl.col("becomes").fill_null(""), why=pl.col("why").fill_null(NO_BOX)
        )
        .rename({"source_label": "label"})
        .select("label", "images", "boxes", "locations", "sequences", "share", "becomes", "why")
        .sort("boxes", "images", "label", descending=[True, True, False])
    )


def _as_crops(boxes: pl.DataFrame) -> pl.DataFrame:
    """CROPS rows as if every box gave a crop: what a label becomes does not wait for the images."""
    rows = boxes.select("box_id", "image_id", crop_id="box_id", path="box_id")
    absent = [name for name in schemas.CROPS.columns if name not in rows.columns]
    return rows.with_columns(pl.lit(None, schemas.CROPS.columns[name]).alias(name) for name in absent)


def _fates(found: pl.DataFrame, decided: pl.DataFrame, cfg: DatasetConfig) -> pl.DataFrame:
    """source_label -> becomes, why."""
    boxed = found.drop_nulls("box_id").select("source_label", "box_id").unique()
    rows = boxed.join(decided.select("box_id", "labels", "left_out"), on="box_id", how="left")
    kept = rows.filter(pl.col("left_out").is_null()).explode("labels")
    groups = decided.filter(pl.col("left_out").is_null()).explode("labels").group_by("labels")
    size = {label: (n, crops) for label, n, crops in groups.agg(pl.col("group_id").n_unique(), pl.len()).iter_rows()}
    fates = []
    for source in sorted(rows["source_label"].unique()):
        becomes = sorted(kept.filter(pl.col("source_label") == source)["labels"].unique())
        mine = rows.filter(pl.col("source_label") == source)
        lost = mine.drop_nulls("left_out").group_by("left_out").len().sort("len", "left_out", descending=[True, False])
        why = [f"{n} of {mine.height} left out: {reason}" for reason, n in lost.iter_rows()]
        for label in becomes:
            n, crops = size[label]
            if label != source:
                why.insert(0, f"merged into {OTHER}: rare" if label == OTHER else f"becomes {label}")
            if n < cfg.min_locs or crops < cfg.min_examples:
                why.append(
                    f"rare: {n} groups (min_locs {cfg.min_locs}), {crops} crops (min_examples {cfg.min_examples})"
                )
        fates.append((source, ", ".join(becomes), "; ".join(why) or "kept as it is"))
    return pl.DataFrame(fates, schema={"source_label": pl.String, "becomes": pl.String, "why": pl.String}, orient="row")


def suggest(table: pl.DataFrame, cfg: DatasetConfig) -> tuple[dict[str, str | None], dict[str, str]]:
    """A label map to start from, and why: spelling variants merged, labels too rare to learn marked `drop`.

    Variants differ in case, plural, or in blanks, hyphens and underscores; the one with the most boxes is kept.

    Args:
        table: From `labels`.

    Returns:
        Source label -> label or None (drop), in the table's order; source label -> comment.
    """
    names: dict[str, str | None] = {}
    comments: dict[str, str] = {}
    first: dict[str, str] = {}
    boxed = table.filter(pl.col("boxes") > 0)
    for label in boxed["label"]:
        first.setdefault(_plain(label), label)
    total = (
        boxed.with_columns(key=pl.col("label").map_elements(_plain, pl.String))
        .group_by("key")
        .agg(pl.col("boxes").sum(), pl.col("locations").sum())
    )
    size = {key: (n, places) for key, n, places in total.iter_rows()}
    for label, boxes in boxed.select("label", "boxes").iter_rows():
        key = _plain(label)
        n, places = size[key]
        if places < cfg.min_locs or n < cfg.min_examples:
            names[label] = None
            comments[label] = f"too rare: {n} boxes at {places} locations"
        else:
            names[label] = first[key]
            comments[label] = f"{boxes} boxes" + (f"; spelling of {first[key]}" if first[key] != label else "")
    return names, comments


def _plain(label: str) -> str:
    """A label without case, plural, blanks, hyphens and underscores."""
    words = re.split(r"[\s_\-]+", label.strip().casefold())
    last = words[-1]
    if len(last) > 4 and last.endswith("ies"):
        last = last[:-3] + "y"
    elif len(last) > 4 and last.endswith(("ches", "shes", "xes", "sses")):
        last = last[:-2]
    elif len(last) > 3 and last.endswith("s") and not last.endswith(("ss", "us", "is")):
        last = last[:-1]
    return "".join([*words[:-1], last])


def write_suggestion(project: Project, path: Path) -> dict[str, str | None]:
    """Write a suggested label map; never over a file that is there.

    Raises:
        InputError: The file exists.
    """
    if path.exists():
        raise InputError(f"{path} exists already. Name another file: trapline labels --suggest FILE")
    names, comments = suggest(labels(project), project.config.dataset)
    label_map.write(path, names, comments)
    return names
