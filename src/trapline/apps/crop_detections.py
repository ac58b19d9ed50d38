"""Crops from a detector's results, without a project: what the field's crop_detections.py does."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from trapline.core import paths, schemas
from trapline.core.config import CropConfig
from trapline.core.cores import usable_cores
from trapline.core.errors import InputError, TooManyFailures
from trapline.core.log import Log
from trapline.formats import megadetector
from trapline.io import tables
from trapline.io.ledger import Parts, lock
from trapline.stages import crop as crop_stage

FAILURES = "failures.csv"


def crop_detections(
    detections: Path,
    images: Path,
    out: Path,
    cfg: CropConfig,
    *,
    threshold: float | None = None,
    categories: Sequence[str] = (),
    check: bool = False,
    max_failures: int = 0,
    log: Log,
) -> pl.DataFrame:
    """Cut every detection out of its image: out/<image file>___cropNN_<detector>.jpg, NN its place in the file.

    What is there already, made with the same settings, is kept. Images that fail are listed in out/failures.csv.

    Args:
        detections: A MegaDetector results file.
        images: Folder that its file names are relative to.
        threshold: Least confidence. Default: what the file calls typical, else 0.2. Boxes without one are kept.
        categories: Names of the categories that are wanted; all where there are none.
        check: Read every crop that is there, and make damaged ones again.

    Returns:
        CROPS rows.

    Raises:
        InputError: The file cannot be used, the folder is missing, or a category is unknown.
        TooManyFailures: Everything is made, but more images failed than `max_failures`.
    """
    if not images.is_dir():
        raise InputError(f"there is no folder {images}. Name the one that the file names are relative to: --images DIR")
    results = megadetector.read(detections)
    least = threshold if threshold is not None else results.typical_threshold or megadetector.TYPICAL_THRESHOLD
    found = _wanted(results, least, categories, log)
    slug = "human" if results.detector in ("human", "cct_to_md") else megadetector.detector_slug(results.detector)
    by = "" if slug == "human" else f"_{slug}"
    number = pl.col("number").cast(pl.String)
    boxes = found.select(
        "box_x", "box_y", "box_w", "box_h", "conf",
        box_id=pl.format("{}/{}", "file", number.str.zfill(6)), image_id="file", unit=pl.lit("fraction"),
        frame=pl.lit("displayed"), source=pl.lit(slug),
    )  # fmt: skip
    names = found.select(
        box_id=pl.format("{}/{}", "file", number.str.zfill(6)),
        crop_id=pl.format("{}___crop{}{}.jpg", "file", number.str.zfill(2), pl.lit(by)),
    )
    files = results.images.join(found.select("file").unique(), on="file", how="semi", maintain_order="left")
    with lock(out / ".trapline" / "lock"):
        parts = Parts(out / ".trapline" / "crops")
        if check:
            crop_stage.remove_damaged(parts, out, log)
        crops = crop_stage.crop(
            crop_stage.units(
                _frame(files.select(image_id="file", dataset=pl.lit("detections"), file_name="file"), schemas.IMAGES),
                _files(files["file"], images),
                _frame(boxes, schemas.BOXES),
                names=names,
            ),
            cfg,
            crops_dir=out,
            root=Path(),
            parts=parts,
            workers=cfg.num_workers or usable_cores(),
            log=log,
            hash_frames=False,  # nothing is split here
        )
        failed = crop_stage.failed_images(crops).rename({"image_id": "file"})
        undetected = results.images.drop_nulls("failure").select("file", failure=pl.format("detector: {}", "failure"))
        tables.save_csv(
            out / FAILURES, pl.concat([failed, undetected]).unique("file", maintain_order=True).sort("file")
        )
    if failed.height or undetected.height:
        log.warn(
            f"{failed.height} images failed, and the detector failed on {undetected.height}; each is in "
            f"{out / FAILURES} with its reason."
        )
    if failed.height > max_failures:
        raise TooManyFailures(f"done, but {failed.height} images failed. Allow them: --max-failures {failed.height}.")
    return crops


def _wanted(results: megadetector.MdResults, least: float, categories: Sequence[str], log: Log) -> pl.DataFrame:
    """The detections to be cropped, one row each; says how many are left out and why."""
    every = results.detections.unique(["file", "number"], keep="first", maintain_order=True)
    known = every["category"].drop_nulls().unique().sort().to_list()
    strange = [name for name in categories if name not in known]
    if strange:
        raise InputError(f"no detection is of category {strange[0]!r}. There are: {', '.join(known) or 'none'}.")
    no_box = pl.col("box_x").is_null()
    other = pl.col("category").is_in(list(categories)).not_().fill_null(True) if categories else pl.lit(False)
    weak = (pl.col("conf") < least).fill_null(False)
    reason = (
        pl.when(no_box).then(pl.lit("without a box"))
        .when(other).then(pl.lit("of other categories"))
        .when(weak).then(pl.lit(f"below confidence {least:g}"))
    )  # fmt: skip
    judged = every.with_columns(reason=reason)
    kept = judged.filter(pl.col("reason").is_null())
    counts = dict(judged.drop_nulls("reason").group_by("reason").len().sort("reason").iter_rows())
    log.account("detections", every.height, "boxes", kept.height, counts)
    return kept.drop("reason")


def _files(names: pl.Series, folder: Path) -> pl.DataFrame:
    """FILES rows: what is below the folder; a name that leads out of it is a failure."""
    rows = []
    for name in names:
        failure, stamp = paths.unsafe_reason(name), None
        if failure is None:
            try:
                found = (folder / name).stat()
                stamp = f"{found.st_size}-{found.st_mtime_ns}"
            except (OSError, ValueError):
                failure = "file is missing"
        rows.append((name, (folder / name).as_posix() if failure is None else None, stamp, failure))
    columns = ["image_id", "path", "checksum", "failure"]
    frame = pl.DataFrame(rows, schema=dict.fromkeys(columns, pl.String), orient="row")
    return _frame(frame, schemas.FILES)


def _frame(frame: pl.DataFrame, schema: schemas.Schema) -> pl.DataFrame:
    """The frame with the schema's other columns, null."""
    return pl.concat([schema.empty(), frame], how="diagonal")
