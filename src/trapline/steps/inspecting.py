"""What inspect reads and writes. It is no stage of the pipeline: nothing later depends on what it finds."""

from collections.abc import Mapping
from datetime import datetime

import polars as pl

from trapline.core import cores
from trapline.core.folds import folds_of, held_out
from trapline.core.log import Log
from trapline.io import atomic, tables
from trapline.io.runs import is_multilabel, made_from, read_json
from trapline.stages import leaks
from trapline.steps.step import Context, write


def inspect(context: Context, margin: float, log: Log) -> pl.DataFrame:
    """Examples, crops, splits, embeddings -> tables/issues.parquet, inspect.html. Measures are kept for the next time.

    Args:
        margin: By how much the last run's classifier prefers another label to the given one, for a crop to be listed.

    Returns:
        ISSUES rows.
    """
    from trapline.report import inspection  # jinja2 is slow to import
    from trapline.stages.inspect import inspect as inspect_stage
    from trapline.stages.inspect import measures

    examples, crops = context.table("examples"), context.table("crops")
    used = crops.join(examples.select("crop_id"), on="crop_id", how="semi")
    measured = measures(
        used,
        crops_dir=context.storage.crops,
        max_pixels=context.config.crop.max_pixels,
        workers=cores.usable_cores(),
        parts=context.storage.parts("inspect"),
        log=log,
    )
    splits, wished = context.table("splits"), _wished(context)
    scored, classes = _held_out(context, examples, splits, log)
    found = inspect_stage(
        examples,
        used,
        context.table("boxes"),
        splits,
        context.table("embeddings"),
        measured,
        wished,
        twins=leaks.twins(examples, crops, log=log),
        held_out=scored,
        classes=classes,
        margin=margin,
        now=datetime.now(),
        log=log,
    )
    write(context, {"issues": found})
    folder = context.layout
    pictures = context.storage.crops
    page = inspection.page(examples, splits, found, pictures, project=folder.root.name, wished=wished)
    atomic.replace_text(folder.inspect_page, page)
    return found


def _held_out(
    context: Context, examples: pl.DataFrame, splits: pl.DataFrame, log: Log
) -> tuple[pl.DataFrame | None, list[str]]:
    """What the last prediction says of crops that its run was not trained on, and its labels; (None, []) where there is
    none that is of use."""
    record, made = context.records.read("predict"), context.records.read("split")
    if record is None or made is None:
        return None, []
    run = context.layout.run(str(record.facts.get("run")))
    params = read_json(run / "params.json")
    classes = params.get("labels")
    if not isinstance(classes, list) or not (run / "predictions.parquet").exists() or is_multilabel(params):
        return None, []
    if made_from(run).get("splits") != made.outputs.get("splits"):
        log.note(f"run {run.name} was trained on other splits: what it says of the labels is not looked at")
        return None, []
    if record.config.get("run") is None and folds_of(splits):
        splits = held_out(splits)
    unseen = examples.join(splits.select("group_id", "split"), on="group_id", how="left")
    unseen = unseen.filter(pl.col("heldback") | pl.col("split").is_in(["val", "test"]))
    scored = tables.read(run / "predictions.parquet").join(unseen.select("crop_id"), on="crop_id", how="semi")
    return scored, [str(name) for name in classes]


def _wished(context: Context) -> Mapping[str, float]:
    """Split -> fraction that it was to have, as the splits were made; none where they follow given ones."""
    record = context.records.read("split")
    made = record.config if record else {}
    if made.get("match_test") is not None or made.get("match_splits") is not None:
        return {}
    folds = int(str(made.get("folds", 0)))
    val, test = (1 / folds,) * 2 if folds else (float(str(made["val_frac"])), float(str(made["test_frac"])))
    return {"train": 1 - val - test, "val": val, "test": test}
