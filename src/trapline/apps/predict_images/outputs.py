"""What is written of a prediction, piece by piece: each file whole or not at all, in memory that does not grow."""

import gzip
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
import polars as pl

from trapline.apps.predict_images.annotated import Annotated, Package, likeliest
from trapline.core.errors import InputError
from trapline.core.label_sums import LabelSums
from trapline.core.log import Log
from trapline.formats import score_csv
from trapline.formats.megadetector_given import GivenResults
from trapline.formats.megadetector_merged import MergedFile
from trapline.io import atomic
from trapline.learn.rows import with_values

SIZES = ("width_px", "height_px")
WHOLE_BOX = [0.0, 0.0, 1.0, 1.0]
FORMATS = {
    "md": "MegaDetector results JSON (Timelapse)",
    "csv": "path and a column per label, as run_classifier wrote it",
    "tidy": "a row per box: image, box, likeliest label, its probability",
    "parquet": "a row per box with all probabilities (detection_scores)",
    "camtrap-dp": "Camtrap DP 1.0.2, a folder",
    "cct": "COCO Camera Traps JSON",
}
ENDINGS = {".json": "md", ".csv": "csv", ".csv.gz": "csv", ".parquet": "parquet"}


@dataclass(frozen=True)
class Scored:
    """Some images, classified.

    Args:
        rows: DETECTION_SCORES rows, `unlike` and the image's size (SIZES), an image's together; `scores` of the labels
            that are written.
        records: The images as a detections file has them, in order; None where there is none.
    """

    rows: pl.DataFrame
    records: Sequence[Mapping[str, Any]] | None = None


@dataclass(frozen=True)
class About:
    """What the outputs say of where the scores come from.

    Args:
        labels: L labels of the scores.
        classifier: Its name.
        given: The detections file that is completed, if there is one.
        crop_suffix: What ends a crop's name after its number; None where images are crops themselves.
        typical: The least confidence that viewers show.
        package: What Camtrap DP wants to know besides.
    """

    labels: Sequence[str]
    classifier: str
    given: GivenResults | None
    crop_suffix: str | None
    typical: float
    package: Package


class Output(Protocol):
    """One output that is being written."""

    def add(self, piece: Scored) -> None: ...


def format_of(path: Path, asked: str | None) -> str:
    """The format that is asked for, or that a path's ending names.

    Raises:
        InputError: Neither names one.
    """
    if asked is not None:
        return asked
    name = path.name.casefold()
    found = next((kind for ending, kind in ENDINGS.items() if name.endswith(ending)), None)
    if found is None and not path.suffix:
        found = "camtrap-dp"
    if found is None:
        raise InputError(
            f"the ending of {path} names no format. Endings are {', '.join(ENDINGS)}; a name without one is a Camtrap "
            f"DP folder; or say it: --to {'|'.join(FORMATS)} (one for every --out)."
        )
    return found


def formats_of(outputs: Sequence[Path], to: Sequence[str], package: Package, *, at_least: int = 1) -> list[str]:
    """The format of every output.

    Raises:
        InputError: There are too few, `to` does not fit them, or one needs what is not given: before work is begun.
    """
    if len(outputs) < at_least:
        raise InputError("nothing is to be written. Name a file: --out OUT.json")
    if to and len(to) != len(outputs):
        raise InputError(f"--to is given {len(to)} times and --out {len(outputs)} times: one format for every output.")
    if len(set(outputs)) < len(outputs):
        raise InputError("two outputs have the same name.")
    kinds = [format_of(path, to[n] if to else None) for n, path in enumerate(outputs)]
    if "camtrap-dp" in kinds and (package.locations is None or not package.locations.exists()):
        raise InputError(
            "Camtrap DP wants coordinates of all locations. Give them: --locations locations.csv "
            "(dataset,location,latitude,longitude)."
        )
    return kinds


def summed(rows: pl.DataFrame, sums: LabelSums | None) -> pl.DataFrame:
    """Rows with probabilities of targets, if there are any."""
    if sums is None:
        return rows
    values = rows["scores"].drop_nulls()
    found = sums.sum(values.to_numpy()) if len(values) else np.zeros((0, len(sums.targets)), np.float32)
    return with_values(rows, "scores", found)


@contextmanager
def writing(path: Path, kind: str, about: About, work: Path, log: Log) -> Iterator[Output]:
    """An output to be filled; it stands at `path` once the `with` ends well.

    Args:
        work: A folder for what is needed meanwhile, on the same disk.
    """
    if kind in ("camtrap-dp", "cct"):
        yield (whole := Annotated(about.labels, about.classifier))
        whole.write(path, kind, about.package, log)
        return
    begin: dict[str, Callable[..., Any]] = {"md": _md, "csv": _wide, "tidy": _tidy, "parquet": _parquet}
    with begin[kind](path, about, work) as output:
        yield output


@contextmanager
def _md(path: Path, about: About, work: Path) -> Iterator[Output]:
    with atomic.replacing(path) as stream:
        file = MergedFile(
            stream,
            about.labels,
            about.given,
            classifier=about.classifier,
            completed=datetime.now(UTC).isoformat(timespec="seconds"),
            typical=about.typical,
            detector="none: whole images",
        )
        yield _Md(file)
        file.close()


@dataclass
class _Md:
    file: MergedFile

    def add(self, piece: Scored) -> None:
        per_image = piece.rows.partition_by("file", maintain_order=True)
        records = piece.records or [_record(rows) for rows in per_image]
        for record, rows in zip(records, per_image, strict=True):
            found = rows.filter(pl.col("scores").is_not_null())
            scored = dict(zip(found["detection"], found["scores"].to_numpy(), strict=True)) if found.height else {}
            failure = rows["failure"].drop_nulls()
            told = failure[0] if len(failure) and not record.get("failure") else None
            self.file.add(record, scored, told)


def _record(rows: pl.DataFrame) -> dict[str, Any]:
    """An image of a new file: its boxes; all of it where there is none."""
    failure = rows["failure"].drop_nulls()
    file = rows["file"][0]
    if len(failure) == rows.height:
        return {"file": file, "detections": None, "failure": failure[0]}
    boxes = rows.filter(pl.col("detection").is_not_null()).select("box_x", "box_y", "box_w", "box_h", "conf")
    return {
        "file": file,
        "detections": [
            {
                "category": "1",
                "conf": 1.0 if conf is None else conf,
                "bbox": WHOLE_BOX if None in box else list(box),
            }
            for *box, conf in boxes.iter_rows()
        ],
    }


@contextmanager
def _csv(path: Path) -> Iterator[IO[bytes]]:
    with atomic.replacing(path) as stream:
        if path.suffix.casefold() != ".gz":
            yield stream
            return
        with gzip.GzipFile(fileobj=stream, mode="wb", compresslevel=1, mtime=0, filename="") as packed:
            yield packed  # type: ignore[misc]


@contextmanager
def _wide(path: Path, about: About, work: Path) -> Iterator[Output]:
    with _csv(path) as stream:
        stream.write(score_csv.header(about.labels))
        yield _Wide(stream, about.crop_suffix)


@dataclass
class _Wide:
    stream: IO[bytes]
    crop_suffix: str | None

    def add(self, piece: Scored) -> None:
        rows = piece.rows.filter(pl.col("scores").is_not_null())
        if not rows.height:
            return
        number = pl.col("detection").cast(pl.String).str.zfill(2)
        name = pl.col("file")
        if self.crop_suffix is not None:
            name = pl.format(f"{{}}___crop{{}}{self.crop_suffix}.jpg", "file", number)
        score_csv.write_rows(self.stream, rows.select(name=name)["name"], rows["scores"].to_numpy())


@contextmanager
def _tidy(path: Path, about: About, work: Path) -> Iterator[Output]:
    with _csv(path) as stream:
        yield _Tidy(stream, about.labels)


@dataclass
class _Tidy:
    stream: IO[bytes]
    labels: Sequence[str]
    begun: bool = False

    def add(self, piece: Scored) -> None:
        rows = piece.rows
        best, sure = likeliest(rows["scores"], self.labels)
        table = rows.drop("scores", "failure", *SIZES).with_columns(
            label=best, probability=sure, failure=rows["failure"]
        )
        table.write_csv(self.stream, include_header=not self.begun, datetime_format="%Y-%m-%d %H:%M:%S")
        self.begun = True


@contextmanager
def _parquet(path: Path, about: About, work: Path) -> Iterator[Output]:
    yield (pieces := _Pieces(work))
    pieces.join(path)


@dataclass
class _Pieces:
    """A Parquet file's row groups, each a file until they are joined."""

    folder: Path
    count: int = 0

    def add(self, piece: Scored) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        piece.rows.drop(SIZES).write_parquet(self._path(self.count), compression="zstd", compression_level=1)
        self.count += 1

    def join(self, path: Path) -> None:
        parts = [self._path(n) for n in range(self.count)]
        with atomic.replacing(path) as stream:
            pl.scan_parquet(parts).sink_parquet(stream, compression="zstd", compression_level=1, maintain_order=True)
        for part in parts:
            part.unlink()

    def _path(self, number: int) -> Path:
        return self.folder / f"rows-{number:06d}.parquet"
