"""classification_ds.csv of the reference chain: ready-made crops with dataset, location and labels (FORMATS.md)."""

from pathlib import Path

import polars as pl

from trapline.core import schemas
from trapline.core.errors import InputError
from trapline.formats import csv_table
from trapline.formats.annotations import IMAGE_COLUMNS, OBJECT_COLUMNS, Annotations, complete

REQUIRED = ("path", "dataset", "location", "label")
CROP_SUFFIX = r"___crop.*$"  # what a crop's name adds to its image's


def datasets(path: Path) -> list[str]:
    """The datasets that the file names, sorted.

    Raises:
        InputError: As `read`.
    """
    return _table(path)["dataset"].unique().sort().to_list()


def has_prefix(path: Path) -> bool:
    """Whether crop paths begin with their dataset's name, as the reference chain writes them."""
    return _table(path).select(pl.col("path").str.starts_with(pl.col("dataset") + "/").all()).item()


def read(path: Path, dataset: str) -> Annotations:
    """The crops of one dataset: every crop is an image of its own, boxed whole.

    Locations are text, a comma in `label` parts several labels. Crops of one image are one sequence: nothing else
    tells which belong together.

    Raises:
        InputError: It is missing, not CSV, lacks columns, or has rows without path, dataset or label.
    """
    listed = _table(path).filter(pl.col("dataset") == dataset)
    name = pl.col("path").str.replace_all("\\", "/", literal=True).str.strip_prefix(f"{dataset}/")
    rows = listed.with_columns(file_name=name).unique("file_name", keep="first", maintain_order=True)
    images = rows.select(
        "file_name",
        source_id="file_name",
        location=pl.col("location").str.strip_chars().replace("", None),
        sequence=pl.col("file_name").str.replace(CROP_SUFFIX, ""),
    )
    objects = (
        rows.with_columns(source_label=pl.col("label").str.split(","))
        .explode("source_label")
        .select(
            pl.col("source_label").str.strip_chars(),
            source_id="file_name",
            image="file_name",
            box_x=pl.lit(0.0),
            box_y=pl.lit(0.0),
            box_w=pl.lit(1.0),
            box_h=pl.lit(1.0),
            unit=pl.lit("fraction"),
            frame=pl.lit("displayed"),
            source=pl.lit(schemas.READY_CROP),
            box_conf=pl.col("confidence").cast(pl.Float64, strict=False) if "confidence" in rows.columns else None,
        )
        .filter(pl.col("source_label") != "")
    )
    again = listed.height - rows.height
    notes = (f"{again} rows of {path.name} list a crop again; the first of each counts.",) if again else ()
    return Annotations(complete(images, IMAGE_COLUMNS), complete(objects, OBJECT_COLUMNS), notes=notes)


def _table(path: Path) -> pl.DataFrame:
    table = csv_table.read(path)
    missing = [name for name in REQUIRED if name not in table.columns]
    if missing:
        raise InputError(
            f"{path} lacks the columns {', '.join(missing)}. classification_ds.csv has path, dataset, location, "
            "dataset_class, confidence, label."
        )
    bare = table.with_row_index("line", offset=2).filter(
        pl.any_horizontal(pl.col("path", "dataset", "label").fill_null("").str.strip_chars() == "")
    )
    if bare.height:
        raise InputError(
            f"{bare.height} of {table.height} rows of {path} lack path, dataset or label "
            f"(first: line {bare['line'][0]})."
        )
    if not table.height:
        raise InputError(f"{path} lists no crop.")
    return table
