"""The reference chain's results of a run: outputs_{split}.csv.gz, overall_metrics.csv, label_stats.csv,
confusion_matrices.npz (FORMATS.md). Column names and units are theirs: accuracies are percentages."""

import csv
import gzip
import io
import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from trapline.core.errors import InputError
from trapline.io import atomic

FIXED = ("path", "label", "weight")


@dataclass(frozen=True)
class Outputs:
    """Scores of one split.

    Args:
        crop_ids: n crops.
        truth: Their labels.
        weights: (n,) weights with which every label weighs the same.
        labels: L labels in the model's order.
        scores: (n, L) probabilities.
    """

    crop_ids: Sequence[str]
    truth: Sequence[str]
    weights: NDArray[np.floating]
    labels: Sequence[str]
    scores: NDArray[np.floating]


def write_outputs(path: Path, outputs: Outputs) -> None:
    """Write `path, label, weight, <one probability column per label>`, gzipped; the same bytes for the same rows."""
    names = [*FIXED, *outputs.labels]
    frame = pl.DataFrame(
        {
            "path": pl.Series(list(outputs.crop_ids), dtype=pl.String),
            "label": pl.Series(list(outputs.truth), dtype=pl.String),
            "weight": np.asarray(outputs.weights, np.float64),
        }
    ).with_columns(pl.Series(f"score {n}", outputs.scores[:, n]) for n in range(len(outputs.labels)))
    # A label may be called "path" or "weight", and frames refuse repeated names: then the header is a gzip member of
    # its own, which every reader of gzip joins to the next.
    repeated = len(set(names)) < len(names)

    def write(stream: io.BufferedIOBase) -> None:
        if repeated:
            header = io.StringIO()
            csv.writer(header, lineterminator="\n").writerow(names)
            stream.write(gzip.compress(header.getvalue().encode(), mtime=0))
        else:
            frame.columns = names
        # Digits of probabilities hardly shrink: the fastest level gives nearly the size of the best. Polars packs with
        # all cores, several times as fast as zlib (docs/log.md).
        frame.write_csv(
            stream,  # type: ignore[arg-type]
            include_header=not repeated,
            compression="gzip",
            compression_level=1,
            check_extension=False,
        )

    atomic.replace(path, write)  # type: ignore[arg-type]


def read_outputs(path: Path) -> Outputs:
    """Read a file of `write_outputs` or of the reference chain.

    Raises:
        InputError: Not such a file.
    """
    try:
        data = gzip.decompress(path.read_bytes())
        reader = csv.reader(io.TextIOWrapper(io.BytesIO(data), encoding="utf-8", newline=""))
        header = next(reader, [])
        if tuple(header[:3]) != FIXED or len(header) < 4:
            raise InputError(
                f"{path} is not an outputs CSV: it begins with {', '.join(header[:3])}, not {', '.join(FIXED)}."
            )
        body = data.split(b"\n", reader.line_num)[-1]  # a label may hold a line break
        types = {f"{n}": pl.String if n < len(FIXED) - 1 else pl.Float64 for n in range(len(header))}
        frame = pl.read_csv(io.BytesIO(body), has_header=False, schema=types)
    except FileNotFoundError:
        raise InputError(f"{path} is missing.") from None
    except (OSError, EOFError, UnicodeDecodeError, csv.Error, pl.exceptions.PolarsError) as error:
        raise InputError(f"{path} is not an outputs CSV: {str(error).splitlines()[0]}.") from None
    scores = frame[:, 3:].to_numpy().astype(np.float32)
    return Outputs(frame["0"].to_list(), frame["1"].to_list(), frame["2"].to_numpy(), header[3:], scores)


def write_overall(path: Path, rows: Sequence[Mapping[str, float | str]]) -> None:
    """Write overall_metrics.csv: `split, loss, acc_top{k}, loss_weighted, acc_weighted_top{k}`.

    Args:
        rows: One per split with the same keys; accuracies as shares (written as percentages), NaN where undefined
            (left blank).
    """

    def given(name: str, value: float | str) -> float | str:
        return 100 * value if name.startswith("acc_") and not isinstance(value, str) else value

    percentages = [{name: given(name, value) for name, value in row.items()} for row in rows]
    _write_csv(path, list(rows[0]) if rows else ["split"], percentages)


def read_overall(path: Path) -> pl.DataFrame:
    """Read overall_metrics.csv, with accuracies as shares."""
    frame = pl.read_csv(path, schema_overrides={"split": pl.String}, infer_schema_length=None)
    return frame.with_columns(pl.col("^acc_.*$").cast(pl.Float64) / 100)


def write_label_stats(path: Path, rows: Sequence[Mapping[str, float | str]]) -> None:
    """Write label_stats.csv: `split, label, precision, recall`, shares from 0 to 1, blank where undefined."""
    _write_csv(path, ["split", "label", "precision", "recall"], rows)


def write_confusion(path: Path, matrices: Mapping[str, NDArray[np.integer]]) -> None:
    """Write confusion_matrices.npz: one integer matrix per split, rows true, columns predicted, in label order."""

    def write(stream: io.BufferedIOBase) -> None:
        # np.savez stamps the time of day into the archive; the same matrices shall give the same bytes.
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, matrix in matrices.items():
                entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
                entry.compress_type = zipfile.ZIP_DEFLATED
                buffer = io.BytesIO()
                np.lib.format.write_array(buffer, np.asarray(matrix, np.int64), allow_pickle=False)
                archive.writestr(entry, buffer.getvalue())

    atomic.replace(path, write)  # type: ignore[arg-type]


def read_confusion(path: Path) -> dict[str, NDArray[np.int64]]:
    """Read confusion_matrices.npz."""
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _write_csv(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, float | str]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        cells = [row[name] for name in columns]
        writer.writerow(["" if isinstance(cell, float) and math.isnan(cell) else cell for cell in cells])
    atomic.replace_text(path, text.getvalue())
