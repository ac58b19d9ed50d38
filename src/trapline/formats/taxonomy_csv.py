"""A taxonomy of labels: CSV with a column `label` and one per level, such as genus and family."""

from pathlib import Path

import polars as pl

from trapline.core.errors import InputError


def read(path: Path) -> dict[str, dict[str, str]]:
    """Level -> label -> taxon, of the cells that are not blank.

    Raises:
        InputError: It is missing, not such a CSV, or names a label twice.
    """
    try:
        table = pl.read_csv(path.read_bytes(), infer_schema=False)
    except (OSError, UnicodeDecodeError, pl.exceptions.PolarsError) as error:
        raise InputError(f"taxonomy {path} cannot be read: {str(error).splitlines()[0]}.") from None
    table = table.rename({name: name.strip().lstrip("\ufeff") for name in table.columns})
    if "label" not in table.columns or table.width < 2:
        raise InputError(
            f"taxonomy {path} has the columns {', '.join(table.columns)}; it needs `label` and at least one level, "
            "such as label,genus,family."
        )
    table = table.with_columns(pl.all().str.strip_chars()).filter(pl.col("label") != "")
    twice = table.filter(pl.col("label").is_duplicated())["label"].unique(maintain_order=True)
    if len(twice):
        raise InputError(f"taxonomy {path} names {len(twice)} label(s) more than once (first: {twice[0]}).")
    levels = [name for name in table.columns if name != "label"]
    return {
        level: {label: taxon for label, taxon in table.select("label", level).iter_rows() if taxon} for level in levels
    }
