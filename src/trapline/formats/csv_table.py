"""CSV files as tables of text: a location 007 is no number."""

from pathlib import Path

import polars as pl

from trapline.core.errors import InputError


def read(path: Path, what: str = "") -> pl.DataFrame:
    """Every column as text, null where a cell is empty.

    Args:
        what: What the file is, for errors.

    Raises:
        InputError: It is missing or no CSV.
    """
    name = f"{what} {path}".strip()
    try:
        return pl.read_csv(path, infer_schema=False, glob=False)
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror or error}.") from None
    except pl.exceptions.PolarsError as error:
        raise InputError(f"{name} is not a CSV table: {str(error).splitlines()[0]}.") from None
