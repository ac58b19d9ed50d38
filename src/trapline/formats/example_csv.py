"""An examples table from outside: CSV or Parquet with a row per crop, its true label and its place."""

from pathlib import Path

import polars as pl

from trapline.core import schemas
from trapline.core.errors import InputError
from trapline.core.places import clock
from trapline.formats import classification_csv
from trapline.formats.image_csv import NAMES, columns

PATHS = ("crop_id", *NAMES["path"])


def read(path: Path) -> tuple[pl.DataFrame, pl.DataFrame, tuple[str, ...]]:
    """Examples, their splits, and what a person should know.

    Read are: path (or crop_id), label, and if there location, dataset, camera, sequence, datetime, split (train, val,
    test; without it all are test). A classification_ds.csv is one; there, a comma parts several labels. trapline's own
    examples.parquet is one too.

    Returns:
        EXAMPLES and SPLITS rows: groups are locations; crops without one are grouped by sequence, else together.

    Raises:
        InputError: It is missing, not such a table, lacks paths or labels, or puts one location into two splits.
    """
    table = _table(path)
    if set(schemas.EXAMPLES.columns) <= set(table.columns):
        examples = table.select(list(schemas.EXAMPLES.columns))
        return examples, _all_test(examples), ()
    names = columns([name for name in table.columns if name.casefold() != "crop_id"])
    plain = {name.strip().casefold(): name for name in table.columns}
    if "crop_id" in plain:
        names["path"] = plain["crop_id"]
    missing = [name for name in ("path", "label") if name not in names]
    if missing:
        raise InputError(
            f"{path} has no column of {'s or of '.join(missing)}s, only {', '.join(table.columns[:12])}. Name them "
            "`path` and `label`; `location`, `dataset`, `camera`, `sequence`, `datetime` and `split` are read too."
        )
    several = all(name in plain for name in classification_csv.REQUIRED)

    def text(name: str) -> pl.Expr:
        theirs = names.get(name) or plain.get(name)
        column = pl.lit(None) if theirs is None else pl.col(theirs)
        return column.cast(pl.String).str.strip_chars().replace("", None)

    labels = text("label").str.split(",") if several else pl.concat_list(text("label"))
    frame = table.select(
        crop_id=text("path").str.replace_all("\\", "/", literal=True).str.strip_prefix("./"),
        labels=labels.list.eval(pl.element().str.strip_chars()).list.drop_nulls(),
        dataset=text("dataset").fill_null(path.stem),
        location_id=text("location"),
        camera_id=text("camera"),
        deployment_id=text("deployment"),
        sequence_id=text("sequence"),
        captured=text("datetime"),
        split=text("split").str.to_lowercase(),
    )
    frame = frame.with_columns(captured_at=clock(frame["captured"]))
    bare = frame["crop_id"].null_count()
    if bare:
        raise InputError(f"{bare:,} of {frame.height:,} rows of {path} have no path.")
    again = frame.filter(pl.col("crop_id").is_duplicated())
    if again.height:
        raise InputError(
            f"{path} lists {again['crop_id'].n_unique():,} crops more than once (first: {again['crop_id'][0]})."
        )
    examples = frame.with_columns(
        image_id="crop_id",
        infrared=pl.lit(None, pl.Boolean),
        group_id=pl.coalesce(
            pl.concat_str("dataset", "location_id", separator="/"),
            pl.concat_str(pl.lit("sequence "), "sequence_id"),
            pl.lit("no location"),
        ),
        weight=pl.lit(1.0),
        heldback=pl.lit(False),
    )
    notes: tuple[str, ...] = ()
    if lost := examples["location_id"].null_count():
        notes = (f"{lost:,} of {examples.height:,} examples have no location: intervals are over locations.",)
    splits = _splits(path, examples)
    return schemas.EXAMPLES.check(examples.select(list(schemas.EXAMPLES.columns)).sort("crop_id")), splits, notes


def _splits(path: Path, examples: pl.DataFrame) -> pl.DataFrame:
    told = examples.drop_nulls("split")
    wrong = told.filter(~pl.col("split").is_in(schemas.SPLIT_NAMES))
    if wrong.height:
        raise InputError(
            f"{wrong.height:,} rows of {path} name a split that is none of {', '.join(schemas.SPLIT_NAMES)} (first: "
            f"{wrong['split'][0]})."
        )
    found = examples.group_by("group_id").agg(split=pl.col("split").drop_nulls().unique())
    torn = found.filter(pl.col("split").list.len() > 1).sort("group_id")
    if torn.height:
        raise InputError(
            f"{torn.height:,} locations of {path} are in several splits (first: {torn['group_id'][0]}): a location "
            "that was trained on says nothing about new ones. Put each into one split."
        )
    split = pl.col("split").list.first() if told.height else pl.lit("test")
    return _as_splits(found.select("group_id", split=split).drop_nulls("split"))


def _all_test(examples: pl.DataFrame) -> pl.DataFrame:
    return _as_splits(examples.select(pl.col("group_id").unique(), split=pl.lit("test")))


def _as_splits(found: pl.DataFrame) -> pl.DataFrame:
    return schemas.SPLITS.check(found.with_columns(fold=pl.lit(None, pl.Int64)).sort("group_id"))


def _table(path: Path) -> pl.DataFrame:
    try:
        if path.suffix.casefold() == ".parquet":
            return pl.read_parquet(path)
        return pl.read_csv(path, infer_schema=False)  # a location 007 is no number
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from None
    except pl.exceptions.PolarsError as error:
        raise InputError(f"{path} is not a table: {(str(error).splitlines() or [''])[0]}.") from None
