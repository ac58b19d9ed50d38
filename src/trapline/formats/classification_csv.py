"""classification_ds.csv of the reference chain: ready-made crops with dataset, location and labels (FORMATS.md)."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from trapline.core import schemas
from trapline.core.errors import InputError
from trapline.core.log import Log
from trapline.core.paths import unsafe_reason

REQUIRED = ("path", "dataset", "location", "label")
CROP_SUFFIX = r"___crop.*$"  # what a crop's name adds to its image's


@dataclass(frozen=True)
class ReadyCrops:
    """IMAGES, BOXES and LABELS rows of one dataset: every crop is an image of its own, boxed whole."""

    images: pl.DataFrame
    boxes: pl.DataFrame
    labels: pl.DataFrame


def datasets(path: Path) -> list[str]:
    """The datasets that the file names, sorted.

    Raises:
        InputError: As `read`.
    """
    return _table(path)["dataset"].unique().sort().to_list()


def has_prefix(path: Path) -> bool:
    """Whether crop paths begin with their dataset's name, as the reference chain writes them."""
    return _table(path).select(pl.col("path").str.starts_with(pl.col("dataset") + "/").all()).item()


def read(path: Path, dataset: str, *, log: Log) -> ReadyCrops:
    """The crops of one dataset. Locations are text, a comma in `label` parts several labels.

    Crops of one image are one sequence: nothing else tells which belong together.

    Raises:
        InputError: It is missing, not CSV, lacks columns, or has rows without path, dataset or label.
    """
    listed = _table(path).filter(pl.col("dataset") == dataset)
    name = pl.col("path").str.replace_all("\\", "/", literal=True).str.strip_prefix(f"{dataset}/")
    listed = listed.with_columns(file_name=name)
    reasons = pl.Series("unsafe", [unsafe_reason(name) for name in listed["file_name"]], dtype=pl.String)
    safe = listed.with_columns(reasons).filter(pl.col("unsafe").is_null())
    rows = safe.unique("file_name", keep="first", maintain_order=True)
    log.account(
        f"rows of {path.name} for {dataset}",
        listed.height,
        "crops",
        rows.height,
        {"with a path that leaves the project": listed.height - safe.height, "listed again": safe.height - rows.height},
    )
    rows = rows.with_columns(image_id=pl.concat_str(pl.lit(f"{dataset}/"), "file_name"))
    place = pl.col("location").str.strip_chars().replace("", None)
    images = rows.select(
        "image_id",
        "dataset",
        "file_name",
        location_id=place,
        deployment_id=place,
        sequence_id=pl.col("image_id").str.replace(CROP_SUFFIX, ""),
    )
    boxes = rows.select(
        "image_id",
        box_id="image_id",
        box_x=pl.lit(0.0),
        box_y=pl.lit(0.0),
        box_w=pl.lit(1.0),
        box_h=pl.lit(1.0),
        unit=pl.lit("fraction"),
        frame=pl.lit("displayed"),
        source=pl.lit(schemas.READY_CROP),
        conf=pl.col("confidence").cast(pl.Float64, strict=False) if "confidence" in rows.columns else pl.lit(None),
    )
    labels = (
        rows.select("image_id", box_id="image_id", source_label=pl.col("label").str.split(","))
        .explode("source_label")
        .with_columns(pl.col("source_label").str.strip_chars(), sequence_level=pl.lit(False))
        .filter(pl.col("source_label") != "")
    )
    return ReadyCrops(_full(images, schemas.IMAGES), _full(boxes, schemas.BOXES), _full(labels, schemas.LABELS))


def _table(path: Path) -> pl.DataFrame:
    try:
        table = pl.read_csv(path, infer_schema=False)  # a location 007 is no number
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from None
    except pl.exceptions.PolarsError as error:
        raise InputError(f"{path} is not a CSV table: {str(error).splitlines()[0]}.") from None
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


def _full(frame: pl.DataFrame, schema: schemas.Schema) -> pl.DataFrame:
    """Add the columns of the schema that the file does not tell, as nulls."""
    absent = [name for name in schema.columns if name not in frame.columns]
    return frame.with_columns(pl.lit(None).alias(name) for name in absent).select(
        pl.col(name).cast(dtype) for name, dtype in schema.columns.items()
    )
