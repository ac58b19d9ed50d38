"""Parquet tables, checked against their schema where they are written."""

from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import IO

import polars as pl

from trapline.core.errors import TraplineError
from trapline.core.keys import in_order
from trapline.core.schemas import Schema
from trapline.io import atomic


def write(path: Path, frame: pl.DataFrame, schema: Schema) -> None:
    """Check `frame` against `schema`, sort it by key and write it whole.

    Raises:
        TraplineError: The frame breaks its schema, or the disk refuses.
    """
    if schema.key and set(schema.key) <= set(frame.columns):
        frame = in_order(frame, *schema.key)
    save(path, schema.check(frame))


def save(path: Path, frame: pl.DataFrame) -> None:
    """Write any frame as Parquet, whole or not at all."""
    data = as_bytes(frame)
    atomic.replace(path, lambda stream: stream.write(data))


def as_bytes(frame: pl.DataFrame) -> memoryview:
    """A frame as the bytes of a Parquet file."""
    memory = BytesIO()
    frame.write_parquet(memory, compression="zstd", compression_level=1, statistics=False)
    return memory.getbuffer()


def _save(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Written to memory first: polars, writing to a file itself, hides which error the system gave it."""
    memory = BytesIO()
    write(memory)
    atomic.replace(path, lambda stream: stream.write(memory.getbuffer()))


def read(path: Path, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """Read a table, or some of its columns.

    Raises:
        TraplineError: It is missing or not readable.
    """
    try:
        return pl.read_parquet(path, columns=None if columns is None else list(columns))
    except FileNotFoundError:
        raise TraplineError(f"table {path} is missing. Run `trapline run` to make it.") from None
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TraplineError(f"table {path} cannot be read ({reason}). Delete it and run `trapline run`.") from error


def save_csv(path: Path, frame: pl.DataFrame, null: str = "") -> None:
    """Write any flat frame as CSV, whole or not at all.

    Args:
        null: What stands for a value that is not known.
    """
    _save(path, lambda memory: frame.write_csv(memory, null_value=null))
