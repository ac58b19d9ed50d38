"""Scores of any classifier as CSV, gzipped or not: a column of paths, and one of probabilities for every label; or a
row per crop with the label that was named and how sure that was."""

import csv
import gzip
import io
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import polars as pl
from numpy.typing import NDArray

from trapline.core.errors import InputError
from trapline.formats.image_csv import NAMES
from trapline.io import atomic

PATHS = (*NAMES["path"], "crop_id", "crop", "img_file")
NAMED = ("prediction", "predicted", "predicted_label", "predicted_class", "class", "label", "species", "category")
SURE = ("confidence", "conf", "score", "probability", "prediction_score", "prediction_confidence")
FIXED = ("label", "weight")  # what the reference chain's outputs hold between path and scores
SUM_ERROR = 0.01


@dataclass(frozen=True)
class Scores:
    """Scores of n crops.

    Args:
        paths: Of the crops, with forward slashes.
        labels: L labels.
        values: (n, L) float32, 0 to 1.
        notes: What a person should know of how the file was read.
    """

    paths: pl.Series
    labels: Sequence[str]
    values: NDArray[np.float32]
    notes: tuple[str, ...] = ()


def read(path: Path) -> Scores:
    """Read a file of scores.

    Columns of words beside the scores are left out and named. The true labels that the reference chain's outputs hold
    are not read: the examples have them.

    Raises:
        InputError: It is missing, not such a file, or holds scores that are not between 0 and 1.
    """
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        reader = csv.reader(io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig", newline=""))
        header = next(reader, [])
        body = memoryview(data)[len(data) - len(data.split(b"\n", reader.line_num)[-1]) :]  # names may hold line breaks
        plain = [name.strip().casefold().replace(" ", "_").replace("-", "_") for name in header]
        table = pl.read_csv(io.BytesIO(body), has_header=False, schema=_types(body, plain))
    except FileNotFoundError:
        raise InputError(f"there is no file {path}.") from None
    except pl.exceptions.NoDataError:
        raise InputError(f"{path} holds no scores.") from None
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error, pl.exceptions.PolarsError) as error:
        raise InputError(f"{path} is not a CSV of scores: {(str(error).splitlines() or [''])[0]}.") from None
    if plain[:1] and plain[0] in ("", "index", "unnamed:_0") and len(plain) > 1 and plain[1] in PATHS:
        table, header, plain = table[:, 1:], header[1:], plain[1:]  # a data frame's own numbering
        table.columns = [f"{n}" for n in range(table.width)]
    if not plain or plain[0] not in PATHS:
        raise InputError(
            f"{path} does not begin with a column of paths (it begins with {', '.join(header[:3]) or 'nothing'}). A "
            "file of scores is `path, <one column per label>`, or `path, prediction, confidence`."
        )
    paths = table["0"].cast(pl.String).str.replace_all("\\", "/", literal=True).str.strip_prefix("./")
    if missing := paths.null_count():
        raise InputError(f"{missing:,} of {len(paths):,} rows of {path} have no path.")
    if tuple(plain[1:3]) == FIXED:
        return _wide(path, paths, header[3:], table[:, 3:])
    named = next((plain.index(name) for name in NAMED if name in plain[1:]), None)
    sure = next((plain.index(name) for name in SURE if name in plain[1:]), None)
    if named and sure and table[:, named].dtype == pl.String:
        return _long(path, paths, table[:, named], table[:, sure])
    return _wide(path, paths, header[1:], table[:, 1:])


def _types(body: memoryview, plain: Sequence[str]) -> dict[str, pl.DataType | type[pl.DataType]]:
    """Column -> type, from the first rows: numbers are read as float32, which is all that scores are kept as, so that a
    column that begins with 0 and 1 is not taken for whole numbers."""
    head = pl.read_csv(io.BytesIO(body), has_header=False, n_rows=10_000, infer_schema_length=None)
    if head.width != len(plain):
        raise pl.exceptions.SchemaError(f"{len(plain)} names head {head.width} columns")
    words = {n for n, name in enumerate(plain) if n == 0 or name in PATHS}
    if any(name in SURE for name in plain[1:]):
        words |= {n for n, name in enumerate(plain) if name in NAMED}
    return {
        f"{n}": pl.Float32 if kind.is_numeric() and n not in words else pl.String for n, kind in enumerate(head.dtypes)
    }


def write(path: Path, crop_ids: pl.Series, labels: Sequence[str], values: NDArray[np.floating]) -> None:
    """Write `path, <one probability column per label>`, as the reference chain's run_classifier.py does; gzipped where
    the name ends with .gz."""
    packs = path.suffix.casefold() == ".gz"
    frame = _frame(crop_ids, values)

    def save(stream: IO[bytes]) -> None:
        first = header(labels)
        stream.write(gzip.compress(first, mtime=0) if packs else first)
        packing = {"compression": "gzip", "compression_level": 1} if packs else {}
        frame.write_csv(stream, include_header=False, check_extension=False, **packing)

    atomic.replace(path, save)


def header(labels: Sequence[str]) -> bytes:
    """The first line of a file."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow([PATHS[0], *labels])  # a label may be called "path"
    return line.getvalue().encode()


def write_rows(stream: IO[bytes], crop_ids: pl.Series, values: NDArray[np.floating]) -> None:
    """Some rows of a file, for what is written bit by bit."""
    _frame(crop_ids, values).write_csv(stream, include_header=False)


def _frame(crop_ids: pl.Series, values: NDArray[np.floating]) -> pl.DataFrame:
    return pl.DataFrame({"path": crop_ids}).with_columns(
        pl.Series(f"score {n}", values[:, n]) for n in range(values.shape[1])
    )


def _wide(path: Path, paths: pl.Series, labels: Sequence[str], table: pl.DataFrame) -> Scores:
    words = [n for n, column in enumerate(table) if column.cast(pl.Float32, strict=False).count() < column.count()]
    notes = ()
    if words:
        notes = (f"columns of words in {path.name} are no scores: {', '.join(labels[n] for n in words[:8])}.",)
        table = table.select(column for n, column in enumerate(table.columns) if n not in words)
        labels = [label for n, label in enumerate(labels) if n not in words]
    if not table.width:
        raise InputError(f"{path} has no column of scores.")
    if len(set(labels)) < len(labels):
        again = next(label for n, label in enumerate(labels) if label in labels[:n])
        raise InputError(f"{path} has two columns of scores of {again!r}.")
    values = np.empty((table.height, table.width), np.float32)
    for n, column in enumerate(table.columns):  # one by one: a table of a million rows is not held twice
        values[:, n] = table[column].cast(pl.Float32).fill_null(float("nan")).to_numpy()
    _check(path, paths, values)
    if len(values):
        off = np.abs(values.sum(1) - 1) > SUM_ERROR
        if off.any():
            first = paths[int(off.argmax())]
            notes += (
                f"the scores of {int(off.sum()):,} of {len(values):,} rows of {path.name} do not sum to 1 (first: "
                f"{first}): log loss, calibration and thresholds take them for probabilities all the same.",
            )
    return Scores(paths, list(labels), values, notes)


def _long(path: Path, paths: pl.Series, named: pl.Series, sure: pl.Series) -> Scores:
    """A row per crop and label; what is not named has nothing."""
    frame = pl.DataFrame({"path": paths, "label": named, "score": sure.cast(pl.Float32, strict=False)}).drop_nulls(
        "label"
    )
    labels = frame["label"].unique().sort().to_list()
    crops = frame.select(pl.col("path").unique(maintain_order=True)).with_row_index("row")
    number = pl.DataFrame({"label": labels}).with_row_index("column")
    placed = frame.join(crops, on="path", maintain_order="left").join(number, on="label", maintain_order="left")
    values = np.zeros((crops.height, len(labels)), np.float32)
    values[placed["row"].to_numpy(), placed["column"].to_numpy()] = placed["score"].fill_null(float("nan")).to_numpy()
    _check(path, crops["path"], values)
    note = (
        f"{path.name} names labels and how sure they are, not what else was likely: top-k, log loss, average precision "
        "and calibration are of little worth."
    )
    return Scores(crops["path"], labels, values, (note,))


def _check(path: Path, paths: pl.Series, values: NDArray[np.float32]) -> None:
    """Raise where a score lies outside 0 to 1 (missing ones are left to the evaluation, which counts them)."""
    with np.errstate(invalid="ignore"):
        bad = ((values < 0) | (values > 1 + 1e-4)).any(1)
    if bad.any():
        at = int(bad.argmax())
        worst = values[at][np.abs(np.nan_to_num(values[at]) - 0.5).argmax()]
        raise InputError(
            f"{int(bad.sum()):,} of {len(values):,} rows of {path} hold scores outside 0 to 1 (first: {worst:g} for "
            f"{paths[at]}). Scores are probabilities: divide percentages by 100, or take the softmax of logits first."
        )
    if (again := len(paths) - paths.n_unique()) > 0:
        raise InputError(f"{path} lists {again:,} crops again (first: {paths.filter(paths.is_duplicated())[0]}).")
