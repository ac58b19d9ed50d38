"""How far an old tree got: for every step of the old chain, what it lists and what of that is on disk."""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from trapline.apps.from_old.tree import LISTED, QUERIED, OldTree
from trapline.core.config import IngestConfig
from trapline.core.paths import unsafe_reasons
from trapline.formats import megadetector, queried_images, recognise

COLUMNS = ("path", "dataset", "location", "dataset_class", "confidence", "label")
NUMBERED = re.compile(r"(___crop\d+)(_[^/]*)?\.jpg$", re.IGNORECASE)
END_OF_JPEG = b"\xff\xd9"
OnDisk = dict[str, tuple[str, bool]]  # what `_crops_on_disk` returns


@dataclass(frozen=True)
class Point:
    """A step of the old chain that a project can go on from.

    Args:
        name: The file, or the files, that say what belongs to it.
        what: "crops" or "images".
        listed: How many of these it names; `missing` are those that are not on disk, or not whole.
        left_out: Reason -> number of things that this step leaves out of what came before it.
        crops: COLUMNS rows of the crops it names; None where it names images.
    """

    name: str
    what: str
    listed: int
    missing: tuple[str, ...]
    left_out: dict[str, int] = field(default_factory=dict)
    crops: pl.DataFrame | None = None

    @property
    def complete(self) -> bool:
        return self.listed > 0 and not self.missing

    @property
    def share(self) -> float:
        """Share of what it names that is there."""
        return 1 - len(self.missing) / self.listed if self.listed else 0.0

    def __str__(self) -> str:
        line = (
            f"{self.name}: {self.listed:,} {self.what}, {self.listed - len(self.missing):,} of them on disk and whole"
        )
        line += f" (first that is not: {self.missing[0]})" if self.missing else ""
        left = ", ".join(f"{n:,} {reason}" for reason, n in self.left_out.items() if n)
        return line + (f"; without {left}" if left else "")


def points(tree: OldTree) -> list[Point]:
    """The steps that the old tree has, the furthest first.

    Raises:
        InputError: A file of the old chain cannot be used; names it and the place.
    """
    crops = _crops_on_disk(tree.crops)
    found = []
    if path := tree.file(LISTED):
        rows = pl.read_csv(path, infer_schema=False)
        found.append(_of_crops(LISTED, rows, crops))
    if path := tree.file(QUERIED):
        rows, left_out = _queried(path, crops)
        found.append(_of_crops(QUERIED, rows, crops, left_out))
    by_people = {
        name: results
        for name, path in tree.converted.items()
        if (results := megadetector.read(path)).detector in ("cct_to_md", "human")
    }
    if by_people:
        name = ", ".join(tree.converted[dataset].name for dataset in by_people)
        rows, left_out = _converted(by_people, crops)
        found.append(_of_crops(name, rows, crops, left_out))
    if tree.exports or tree.converted:
        found.append(_of_images(tree))
    return [point for point in found if point.listed]


def exports_of(tree: OldTree, dataset: str) -> list[Path]:
    """The annotation files that a dataset is made of: its export, and a detector's results beside it."""
    export, converted = tree.exports.get(dataset), tree.converted.get(dataset)
    if export is None:
        return [converted] if converted else []
    if converted and megadetector.read(converted).detector not in ("cct_to_md", "human"):
        return [export, converted]
    return [export]


def _of_images(tree: OldTree) -> Point:
    datasets = sorted({*tree.exports, *tree.converted})
    listed, missing = 0, []
    for dataset in datasets:
        names = recognise.read(exports_of(tree, dataset)[0], dataset).images["file_name"].unique().sort()
        names = names.filter(unsafe_reasons(names).is_null())
        listed += names.len()
        folder = tree.images / dataset if tree.images else None
        missing += [f"{dataset}/{name}" for name in names if folder is None or not (folder / name).is_file()]
    title = ", ".join(exports_of(tree, dataset)[0].name for dataset in datasets)
    return Point(title, "images", listed, tuple(missing))


def _of_crops(name: str, rows: pl.DataFrame, on_disk: OnDisk, left_out: dict[str, int] | None = None) -> Point:
    names = rows["path"].str.replace_all("\\", "/", literal=True).unique().sort()
    missing = [path for path in names if not on_disk.get(_key(path), ("", False))[1]]
    return Point(name, "crops", names.len(), tuple(missing), left_out or {}, rows)


def _queried(path: Path, on_disk: OnDisk) -> tuple[pl.DataFrame, dict[str, int]]:
    """The crops of a queried_images.json: of the boxes in it, in their order."""
    frames, bare = [], 0
    for dataset in queried_images.datasets(path):
        read = queried_images.read(path, dataset)
        boxed = read.objects.drop_nulls("box_x").drop_nulls("source_label")
        sides = ["box_x", "box_y", "box_w", "box_h"]
        per_box = boxed.group_by("image", *sides, maintain_order=True).agg(
            label=pl.col("source_label").unique(maintain_order=True).str.join(",")
        )
        numbered = per_box.with_columns(number=pl.int_range(pl.len()).over("image"))
        bare += read.images.height - numbered["image"].n_unique()
        frames.append(_rows(dataset, numbered, read.images.select(image="file_name", location="location"), on_disk))
    return pl.concat(frames), {"images without a box": bare}


def _converted(by_people: dict[str, megadetector.MdResults], on_disk: OnDisk) -> tuple[pl.DataFrame, dict[str, int]]:
    """The crops of what cct_to_md made: of every box, also where an image has several."""
    frames, empty = [], 0
    empties = [name.casefold() for name in IngestConfig().empty_labels]
    for dataset, results in by_people.items():
        boxes = results.detections.drop_nulls("box_x").unique(["file", "number"], keep="first", maintain_order=True)
        boxes = boxes.select(image="file", number="number", label=pl.coalesce("label", "category")).drop_nulls("label")
        kept = boxes.filter(~pl.col("label").str.strip_chars().str.to_lowercase().is_in(empties))
        empty += boxes.height - kept.height
        frames.append(_rows(dataset, kept, results.images.select(image="file", location="location"), on_disk))
    return pl.concat(frames), {"boxes of empty images": empty}


def _rows(dataset: str, boxes: pl.DataFrame, images: pl.DataFrame, on_disk: OnDisk) -> pl.DataFrame:
    """COLUMNS rows of boxes (image, number, label), under the name that the crop has on disk."""
    named = boxes.join(images.unique("image"), on="image", how="left", maintain_order="left").with_columns(
        key=pl.format("{}/{}___crop{}.jpg", pl.lit(dataset), "image", pl.col("number").cast(pl.String).str.zfill(2))
    )
    paths = [on_disk.get(_key(key), (key, False))[0] for key in named["key"]]
    return named.select(
        path=pl.Series(paths, dtype=pl.String),
        dataset=pl.lit(dataset),
        location="location",
        dataset_class="label",
        confidence=pl.lit("1.0"),
        label="label",
    )


def _crops_on_disk(folder: Path | None) -> OnDisk:
    """Every crop by its name without the detector's: (path below `folder`, whether it is whole).

    The old chain wrote crops in place and never looked at one again: a kill left half a JPEG for ever.
    """
    found: OnDisk = {}
    if folder is None:
        return found
    for place, _, files in os.walk(folder):
        for name in sorted(files):
            path = Path(place) / name
            relative = path.relative_to(folder).as_posix()
            found[_key(relative)] = (relative, _is_whole(path))
    return found


def _is_whole(path: Path) -> bool:
    """Whether a file could be a whole image: not empty, and a JPEG ends with its end mark."""
    try:
        with open(path, "rb") as stream:
            head = stream.read(2)
            if head != b"\xff\xd8":
                return bool(head)
            stream.seek(-2, os.SEEK_END)
            return stream.read() == END_OF_JPEG
    except OSError:
        return False


def _key(path: str) -> str:
    return NUMBERED.sub(r"\1.jpg", path)
