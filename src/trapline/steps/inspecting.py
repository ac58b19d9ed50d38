"""What inspect reads and writes. It is no stage of the pipeline: nothing later depends on what it finds."""

from collections.abc import Mapping
from datetime import datetime

import polars as pl

from trapline.core import cores
from trapline.core.log import Log
from trapline.io import atomic
from trapline.io.ledger import Parts
from trapline.stages import leaks
from trapline.steps.step import Context, write


def inspect(context: Context, log: Log) -> pl.DataFrame:
    """Examples, crops, splits, embeddings -> tables/issues.parquet, inspect.html. Measures are kept for the next time.

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
        crops_dir=context.layout.crops,
        max_pixels=context.config.crop.max_pixels,
        workers=cores.usable_cores(),
        parts=Parts(context.layout.parts("inspect")),
        log=log,
    )
    splits, wished = context.table("splits"), _wished(context)
    found = inspect_stage(
        examples,
        used,
        context.table("boxes"),
        splits,
        context.table("embeddings"),
        measured,
        wished,
        twins=leaks.twins(examples, crops, log=log),
        now=datetime.now(),
        log=log,
    )
    write(context, {"issues": found})
    folder = context.layout
    page = inspection.page(examples, splits, found, folder.crops, project=folder.root.name, wished=wished)
    atomic.replace_text(folder.inspect_page, page)
    return found


def _wished(context: Context) -> Mapping[str, float]:
    """Split -> fraction that it was to have, as the splits were made; none where they follow given ones."""
    record = context.records.read("split")
    made = record.config if record else {}
    if made.get("match_test") is not None or made.get("match_splits") is not None:
        return {}
    folds = int(str(made.get("folds", 0)))
    val, test = (1 / folds,) * 2 if folds else (float(str(made["val_frac"])), float(str(made["test_frac"])))
    return {"train": 1 - val - test, "val": val, "test": test}
