"""trapline export: what a project knows, as files that other programs open."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

import polars as pl

from trapline.core.errors import InputError
from trapline.core.issues.rows import by_crop
from trapline.core.log import Log
from trapline.formats import fiftyone
from trapline.io.places import Folder, Place, read_all
from trapline.project import Project

Target = Literal["fiftyone"]
PICTURES = "pictures"


def export(project: Project, to: Target, out: Path, *, overwrite: bool = False) -> None:
    """Write what the project knows to `out`, in the form that `to` names.

    Args:
        to: fiftyone: the crops with label, split, place and issues, as a dataset to import.
        out: The folder to write.
        overwrite: Replace what an earlier export left there.

    Raises:
        InputError: The project is not that far, or there is something at `out` already.
    """
    if to not in WRITERS:
        raise InputError(f"nothing is exported to {to!r}. There are: {', '.join(get_args(Target))}.")
    there = out.exists() and (not out.is_dir() or any(out.iterdir()))
    if there and not (overwrite and out.is_dir()):
        remedy = "Choose another folder, or replace it: --overwrite" if out.is_dir() else "Name a folder"
        raise InputError(f"there is something at {out} already. {remedy}.")
    WRITERS[to](project, out)


def _fiftyone(project: Project, out: Path) -> None:
    log = project.log
    crops = project_crops(project)
    seen = crops.drop_nulls("path")
    several = (pl.col("labels").list.len() > 1).sum()
    left = {"whose crop failed": crops.height - seen.height} if seen.height < crops.height else {}
    log.account("examples", crops.height, "crops", seen.height, left)
    if not seen.height:
        raise InputError("no crop can be shown: this project has no pictures, only names. Give its dataset `images:`.")
    stored = project.storage.crops
    folder = stored.folder or _brought(stored, seen["path"].to_list(), out.resolve() / PICTURES, log)
    paths = [(folder / path).as_posix() for path in seen["path"]]
    fiftyone.write(out, seen.with_columns(path=pl.Series(paths, dtype=pl.String)))
    log.note(f"{seen.height:,} crops, {seen.select(several).item():,} of them with several labels, are in {out}")
    log.note(f"open them: {opening(out)}")


def _brought(stored: Place, names: list[str], folder: Path, log: Log) -> Path:
    """A folder with a copy of every crop: FiftyOne opens files of this disk."""
    log.note(f"the crops lie in {stored}: they are copied to {folder}")
    gone = 0
    with log.progress("crops copied", len(names)) as advance:
        for name, data in read_all(stored, names):
            if data is None:
                gone += 1
            else:
                Folder(folder).write(name, data)
            advance(1)
    if gone:
        log.warn(f"{gone:,} of {len(names):,} crops are gone. Make them again: trapline crop --check")
    return folder


def opening(folder: Path) -> str:
    """The Python that opens the exported folder in FiftyOne."""
    return (
        "import fiftyone as fo; "
        f"dataset = fo.Dataset.from_dir(dataset_dir={folder.resolve().as_posix()!r}, "
        "dataset_type=fo.types.FiftyOneImageDetectionDataset); fo.launch_app(dataset)"
    )


def project_crops(project: Project) -> pl.DataFrame:
    """Every example's crop with what is known of it: path (null where the crop failed), labels, split, place, issues.

    Columns: crop_id, path, labels, split, location, sequence, captured_at, infrared, issues (kinds, comma-separated),
    evidence (a line per kind), issue_score; a column is null where nothing is known.
    """
    layout = project.layout
    if not layout.table("examples").exists():
        raise InputError("this project has no examples yet. Make them: trapline run --until split")
    examples = project.table("examples").select(
        "crop_id",
        "labels",
        "group_id",
        "infrared",
        location="location_id",
        sequence="sequence_id",
        captured_at=pl.col("captured_at").dt.to_string("iso:strict"),
    )
    found = examples.join(project.table("crops").select("crop_id", "path"), on="crop_id", how="left")
    if layout.table("splits").exists():
        found = found.join(project.table("splits").select("group_id", "split"), on="group_id", how="left")
    if layout.table("issues").exists():
        issues = by_crop(project.table("issues")).with_columns(pl.col("issues").list.join(", "))
        found = found.join(issues, on="crop_id", how="left")
    return found.drop("group_id").sort("crop_id")


WRITERS: dict[Target, Callable[[Project, Path], None]] = {"fiftyone": _fiftyone}
