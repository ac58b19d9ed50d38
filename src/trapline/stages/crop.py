"""Files and boxes -> crops: one JPEG per box, each image decoded once for all its boxes."""

from pathlib import Path

import polars as pl
from PIL import Image

from trapline.core import geometry, schemas
from trapline.core.config import CropConfig
from trapline.core.log import Log
from trapline.core.versions import VERSIONS
from trapline.engine.local import map_rows
from trapline.io import atomic
from trapline.io import images as image_io
from trapline.io.ledger import Parts

PART_IMAGES = 64

_BOX = ["box_id", "crop_id", "box_x", "box_y", "box_w", "box_h", "unit", "frame", "source"]


def crop(
    images: pl.DataFrame,
    files: pl.DataFrame,
    boxes: pl.DataFrame,
    cfg: CropConfig,
    *,
    crops_dir: Path,
    root: Path,
    parts: Parts,
    workers: int,
    log: Log,
) -> pl.DataFrame:
    """Cut every box out of its image (geometry.crop_window) and store it as crops_dir / crop_id.

    Args:
        images, files, boxes: IMAGES, FILES and BOXES rows.
        root: What relative paths of `files` are relative to.
        parts: Where finished parts are committed; what is done there is not done again, unless its file is gone.
        workers: Threads that decode.

    Returns:
        CROPS rows, one per box. A box that gives no crop has its `failure`, and no path.
    """
    units = _units(images, files, boxes)

    def make(rows: pl.DataFrame) -> pl.DataFrame:
        made = [row for unit in rows.iter_rows(named=True) for row in _crop_image(unit, cfg, root, crops_dir)]
        crops = pl.DataFrame(made, schema=schemas.CROPS.columns, orient="row")
        atomic.sync(crops_dir / path for path in crops["path"].drop_nulls())
        return crops

    def still_there(done: pl.DataFrame) -> pl.Series:
        there = [path is None or (crops_dir / path).is_file() for path in done["path"]]
        return pl.Series(there, dtype=pl.Boolean)

    config = {**cfg.model_dump(exclude=set(cfg.inert)), "version": VERSIONS["crop"]}
    crops = map_rows(
        make,
        units,
        key="image_id",
        config=config,
        parts=parts,
        part_rows=PART_IMAGES,
        log=log,
        what="images cropped",
        workers=workers,
        still_good=still_there,
    )
    unclear = crops.filter(pl.col("frame_unclear"))
    if unclear.height:
        log.warn(
            f"{unclear.height} boxes of images that EXIF rotates could be meant either way; they were taken as "
            f"displayed (first: {unclear['crop_id'][0]}). If those crops are off, set --box-frame raw."
        )
    failed = crops.filter(pl.col("failure").is_not_null())
    reasons = dict(failed.group_by("failure").len().sort("len", "failure", descending=[True, False]).iter_rows())
    log.account("boxes", crops.height, "crops", crops.height - failed.height, reasons)
    return crops


def failed_images(crops: pl.DataFrame) -> pl.DataFrame:
    """image_id and failure of every image of which a crop failed, sorted."""
    failed = crops.filter(pl.col("failure").is_not_null())
    return failed.group_by("image_id").agg(pl.col("failure").first()).sort("image_id")


def _units(images: pl.DataFrame, files: pl.DataFrame, boxes: pl.DataFrame) -> pl.DataFrame:
    """One row per image that has boxes: where it lies, what its source says of its size, its boxes in order."""
    named = (
        boxes.join(images.select("image_id", "dataset", "file_name"), on="image_id", how="inner", maintain_order="left")
        .sort("image_id", "box_id")
        .with_columns(number=pl.int_range(pl.len()).over("image_id").cast(pl.String).str.zfill(2))
        .with_columns(by=pl.when(pl.col("source") == "human").then(pl.lit("")).otherwise(pl.format("_{}", "source")))
        .with_columns(
            crop_id=pl.when(pl.col("source") == schemas.READY_CROP)
            .then(pl.format("{}/{}", "dataset", "file_name"))
            .otherwise(pl.format("{}/{}___crop{}{}.jpg", "dataset", "file_name", "number", "by"))
        )
    )
    return (
        named.group_by("image_id", maintain_order=True)
        .agg(boxes=pl.struct(_BOX))
        .join(images.select("image_id", "width_px", "height_px"), on="image_id", maintain_order="left")
        .join(files.select("image_id", "path", "checksum", "failure"), on="image_id", maintain_order="left")
    )


def _crop_image(unit: dict, cfg: CropConfig, root: Path, crops_dir: Path) -> list[tuple]:
    """CROPS rows of one image."""

    def failed(box: dict, reason: str | None) -> tuple:
        return (box["crop_id"], box["box_id"], unit["image_id"], *[None] * 7, reason)

    if unit["failure"] == schemas.NO_PICTURE:
        return [failed(box, None) for box in unit["boxes"]]
    if unit["failure"] is not None:
        return [failed(box, unit["failure"]) for box in unit["boxes"]]
    try:
        opened, header = image_io.open_image(root / unit["path"], cfg.max_pixels)
        with opened:
            pixels = image_io.decode(opened)
    except image_io.ImageFailure as failure:
        return [failed(box, str(failure)) for box in unit["boxes"]]
    stated = (unit["width_px"], unit["height_px"])
    frame_hash = image_io.frame_hash(pixels)
    rows = []
    for box in unit["boxes"]:
        if box["source"] == schemas.READY_CROP:
            checksum = image_io.take(root / unit["path"], crops_dir / box["crop_id"])
            grey = image_io.is_grey(pixels)
            names = (box["crop_id"], box["box_id"], unit["image_id"], box["crop_id"])
            rows.append((*names, pixels.width, pixels.height, grey, False, checksum, frame_hash, None))
            continue
        frame = box["frame"] if cfg.box_frame == "auto" else cfg.box_frame
        given = geometry.GivenBox(
            *(box[side] for side in ("box_x", "box_y", "box_w", "box_h")),
            unit=box["unit"],
            frame=frame,
            stated_px=None if None in stated else stated,
        )
        try:
            resolved = geometry.resolve(given, header)
        except ValueError as error:
            rows.append(failed(box, str(error)))
            continue
        rows.append(_store(pixels, resolved, {**box, **unit}, frame_hash, cfg, crops_dir))
    return rows


def _store(
    pixels: Image.Image, box: geometry.ResolvedBox, ids: dict, frame_hash: str | None, cfg: CropConfig, crops_dir: Path
) -> tuple:
    window = geometry.crop_window(box, pixels.width, pixels.height, cfg.style)
    piece = image_io.cut(pixels, window, cfg.max_size)
    checksum = image_io.write_jpeg(piece, crops_dir / ids["crop_id"], cfg.quality)
    grey = image_io.is_grey(piece)
    names = (ids["crop_id"], ids["box_id"], ids["image_id"], ids["crop_id"])
    return (*names, piece.width, piece.height, grey, box.frame_unclear, checksum, frame_hash, None)
