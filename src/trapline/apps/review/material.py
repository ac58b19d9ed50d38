"""What is reviewed: the crops of a project, or a list of scored boxes, as one frame in memory."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from trapline.core import neighbours
from trapline.core.errors import InputError
from trapline.core.issues.rows import by_crop
from trapline.core.paths import unsafe_reason
from trapline.formats import csv_table
from trapline.io import tables
from trapline.io.layout import Layout
from trapline.io.places import Place
from trapline.io.runs import read_json
from trapline.project import Project

TEXT, REAL = pl.String, pl.Float64
COLUMNS: dict[str, type[pl.DataType] | pl.DataType] = {
    "crop_id": TEXT,  # how a row is named to a person
    "box_id": TEXT,  # what a decision is about
    "image_id": TEXT,
    "crop_path": TEXT,  # or its name where crops are no files; null where there is none: it is cut from the frame
    "frame_path": TEXT,  # null where the full image is not on this disk
    "box_x": REAL,
    "box_y": REAL,
    "box_w": REAL,
    "box_h": REAL,
    "unit": TEXT,
    "box_frame": TEXT,
    "width_px": pl.Int64,
    "height_px": pl.Int64,
    "label": TEXT,  # "" where there is none
    "split": TEXT,
    "location": TEXT,
    "sequence": TEXT,
    "captured_at": TEXT,
    "issues": pl.List(TEXT),
    "evidence": TEXT,
    "issue_score": REAL,
    "predicted": TEXT,
    "score": REAL,  # of the predicted label
    "failure": TEXT,
}


class Later:
    """Features that are read while the page is up already: reading those of 100,000 crops takes seconds."""

    def __init__(self, read: Callable[[], NDArray[np.float32] | None]):
        pool = ThreadPoolExecutor(1)
        self._coming = pool.submit(read)
        pool.shutdown(wait=False)

    def __call__(self) -> NDArray[np.float32] | None:
        """The features; waits until they are there."""
        return self._coming.result()


@dataclass(frozen=True)
class Material:
    """What a review is of.

    Args:
        rows: COLUMNS.
        labels: Labels that a box can be given, the most frequent first.
        corrections: The corrections.csv that decisions go to.
        features: Unit features, a row per row of `rows`, now or later; None where nothing is embedded.
        name: What is reviewed, for the page's title.
        afterwards: The command that puts decisions to use.
        stored: Where crops lie; None where rows give paths.
    """

    rows: pl.DataFrame
    labels: list[str]
    corrections: Path
    name: str
    afterwards: str
    features: NDArray[np.float32] | Later | None = field(default=None, repr=False)
    stored: Place | None = None


def of_project(project: Project) -> Material:
    """The crops of a project, with whatever is known of them so far.

    Raises:
        InputError: There are no crops yet.
    """
    layout = project.layout
    if not layout.table("crops").exists():
        raise InputError("there are no crops to review yet. Make them: trapline run --until dataset")
    crops = tables.read(layout.table("crops")).select("crop_id", "box_id", "image_id", "path", "failure")
    boxes = tables.read(layout.table("boxes")).select(
        "box_id", "box_x", "box_y", "box_w", "box_h", "unit", box_frame="frame"
    )
    images = tables.read(layout.table("images")).select(
        "image_id", "width_px", "height_px", "captured_at", location="location_id", sequence="sequence_id"
    )
    rows = crops.join(boxes, on="box_id", how="left", maintain_order="left")
    rows = rows.join(images, on="image_id", how="left", maintain_order="left")
    for part in (_frames(layout), _source_labels(layout)):
        key = "image_id" if "image_id" in part.columns else "box_id"
        rows = rows.join(part, on=key, how="left", maintain_order="left")
    for part in (_examples(layout), _issues(layout), _predicted(project)):
        rows = rows.join(part, on="crop_id", how="left", maintain_order="left")
    root, stored = f"{layout.root}/", project.storage.crops
    folder = f"{stored.folder}/" if stored.folder is not None else ""
    inside = pl.when(pl.col("file").str.starts_with("/")).then("file").otherwise(pl.lit(root) + pl.col("file"))
    rows = rows.with_columns(
        crop_path=pl.lit(folder) + pl.col("path"),
        frame_path=inside,
        label=pl.coalesce("example_label", "source_label", pl.lit("")),
        captured_at=pl.col("captured_at").dt.to_string("%Y-%m-%d %H:%M:%S"),
    )
    rows = complete(rows)
    return Material(
        rows, _labels(rows), layout.corrections, layout.root.name, f"trapline run -p {layout.root}",
        Later(lambda: _features(layout, rows)) if layout.table("embeddings").exists() else None, stored,
    )  # fmt: skip


def of_list(path: Path, images: Path) -> Material:
    """A list of scored boxes as `trapline decide` writes it; decisions go to corrections.csv beside it.

    Args:
        images: The folder below which the list's files lie.

    Raises:
        InputError: It is no such list, or names files outside the folder.
    """
    table = csv_table.read(path, "the list")
    names = ("rank", "file", "detection", "box_x", "box_y", "box_w", "box_h", "label", "conf", "reason", "gain")
    if missing := [name for name in names if name not in table.columns]:
        raise InputError(f"{path} lacks the columns {', '.join(missing)}. `trapline decide` writes such a list.")
    if not images.is_dir():
        raise InputError(f"{images} is not a folder. Name the one that the list's files lie in: --images DIR")
    problems = [f"{file!r}: {why}" for file in table["file"].unique(maintain_order=True) if (why := _outside(file))]
    if problems:
        raise InputError(f"{path} names {len(problems)} files that cannot lie below {images}:", problems[:20])
    numbers = [pl.col(name).cast(REAL, strict=False) for name in ("box_x", "box_y", "box_w", "box_h", "conf", "gain")]
    table = table.with_columns(numbers)
    box_id = pl.concat_str("file", pl.lit("#"), pl.col("detection").fill_null("0"))
    rows = table.select(
        crop_id=box_id,
        box_id=box_id,
        image_id="file",
        frame_path=pl.lit(f"{images.resolve()}/") + pl.col("file"),
        box_x="box_x",
        box_y="box_y",
        box_w="box_w",
        box_h="box_h",
        unit=pl.lit("fraction"),
        box_frame=pl.lit("displayed"),
        label=pl.col("label").fill_null(""),
        predicted="label",
        score="conf",
        issues=pl.concat_list(pl.col("reason").fill_null("").str.split(":").list.first()),
        evidence="reason",
        issue_score="gain",
    )
    again = f"trapline review --list {path} --images {images}"
    rows = complete(rows.unique("box_id", keep="first", maintain_order=True))
    return Material(rows, _labels(rows), path.resolve().with_name("corrections.csv"), path.name, again)


def complete(rows: pl.DataFrame) -> pl.DataFrame:
    """`rows` with every one of COLUMNS, null where nothing is known."""
    missing = [pl.lit(None, kind).alias(name) for name, kind in COLUMNS.items() if name not in rows.columns]
    cast = [pl.col(name).cast(kind) for name, kind in COLUMNS.items()]
    return rows.with_columns(missing).select(cast).with_columns(pl.col("issues").fill_null([]))


def _outside(file: str | None) -> str | None:
    return unsafe_reason(file or "")


def _labels(rows: pl.DataFrame) -> list[str]:
    counts = rows.filter(pl.col("label") != "").group_by("label").len().sort("len", "label", descending=[True, False])
    return counts["label"].to_list()


def _frames(layout: Layout) -> pl.DataFrame:
    """image_id, file: where full images lie."""
    if not layout.table("files").exists():
        return pl.DataFrame(schema={"image_id": TEXT, "file": TEXT})
    files = tables.read(layout.table("files")).filter(pl.col("failure").is_null())
    return files.select("image_id", file="path")


def _source_labels(layout: Layout) -> pl.DataFrame:
    labels = tables.read(layout.table("labels")).drop_nulls("box_id")
    return labels.group_by("box_id").agg(source_label=pl.col("source_label").unique().sort().str.join(", "))


def _examples(layout: Layout) -> pl.DataFrame:
    """crop_id, example_label, split."""
    if not layout.table("examples").exists():
        return pl.DataFrame(schema={"crop_id": TEXT, "example_label": TEXT, "split": TEXT})
    examples = tables.read(layout.table("examples")).select(
        "crop_id", "group_id", example_label=pl.col("labels").list.join(", ")
    )
    if not layout.table("splits").exists():
        return examples.select("crop_id", "example_label", split=pl.lit(None, TEXT))
    splits = tables.read(layout.table("splits")).select("group_id", "split")
    return examples.join(splits, on="group_id", how="left").drop("group_id")


def _issues(layout: Layout) -> pl.DataFrame:
    """crop_id, issues (kinds), evidence, issue_score (the highest), where `trapline inspect` found any."""
    if not layout.table("issues").exists():
        return pl.DataFrame(
            schema={"crop_id": TEXT, "issues": pl.List(TEXT), "evidence": TEXT, "issue_score": pl.Float32}
        )
    return by_crop(tables.read(layout.table("issues")))


def _predicted(project: Project) -> pl.DataFrame:
    """crop_id, predicted, score: the likeliest label by the last prediction."""
    none = pl.DataFrame(schema={"crop_id": TEXT, "predicted": TEXT, "score": REAL})
    record = project.records.read("predict")
    if record is None:
        return none
    run = project.layout.run(str(record.facts.get("run")))
    labels = read_json(run / "params.json").get("labels")
    if not isinstance(labels, list) or not (run / "predictions.parquet").exists():
        return none
    found = tables.read(run / "predictions.parquet").drop_nulls("scores").select("crop_id", "scores")
    if not found.height:
        return none
    scores = found["scores"].to_numpy()
    if scores.shape[1] != len(labels):
        return none
    names = pl.Series([str(label) for label in labels])
    best = scores.argmax(axis=1)
    return found.select("crop_id", predicted=names.gather(best), score=pl.Series(scores.max(axis=1).astype(np.float64)))


def _features(layout: Layout, rows: pl.DataFrame) -> NDArray[np.float32] | None:
    found = tables.read(layout.table("embeddings")).drop_nulls("embedding").select("crop_id", "embedding")
    if not found.height:
        return None
    width = len(found["embedding"][0])
    placed = rows.with_row_index("row").select("row", "crop_id").join(found, on="crop_id", how="inner")
    features = np.zeros((rows.height, width), np.float32)
    features[placed["row"].to_numpy()] = placed["embedding"].to_numpy()
    return neighbours.unit(features)
