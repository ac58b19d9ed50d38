"""Files and boxes -> crops: one JPEG per box, each image decoded once for all its boxes, and no further than needed."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event

import polars as pl

from trapline.core import geometry, schemas
from trapline.core.config import CropConfig
from trapline.core.log import Log
from trapline.core.versions import VERSIONS
from trapline.engine.local import LOCAL
from trapline.engine.mapping import Engine, Work, map_rows
from trapline.io import crops as crop_io
from trapline.io import images as image_io
from trapline.io import places
from trapline.io.buffers import Buffers
from trapline.io.cutting import Cutter, cutters
from trapline.io.images import ImageFailure
from trapline.io.ledger import Parts
from trapline.io.objects import ObjectFailure
from trapline.io.photo import Photo, Picture
from trapline.io.places import Place

PART_IMAGES = 64
STREAMED_PART_IMAGES = 32  # what a kill can cost is fetched again
STREAMING_WORKERS = 16  # most of their time they wait for the store
STREAMING_CORES = 0.25  # of a process of a cluster
DECODED_BYTES = 160_000_000  # pixels in memory at a time, whatever the number of workers
CANNOT_BE_HAD = "cannot be had now: "  # such an image is tried again the next time

_BOX = ["box_id", "crop_id", "box_x", "box_y", "box_w", "box_h", "unit", "frame", "source"]
Read = Callable[[str, str], bytes]


def units(
    images: pl.DataFrame,
    files: pl.DataFrame,
    boxes: pl.DataFrame,
    *,
    names: pl.DataFrame | None = None,
    remote: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """What there is to do: one row per image that has boxes, with its boxes in order, where the image lies and what its
    source says of its size.

    Args:
        images, files, boxes: IMAGES, FILES and BOXES rows.
        names: box_id and crop_id of every box. Default: as the field names crops.
        remote: image_id, place, key and failure of images that are read from their store, cropped and forgotten.
    """
    names = named(images, boxes) if names is None else names
    if remote is None:
        remote = pl.DataFrame(schema=dict.fromkeys(("image_id", "place", "key", "failure"), pl.String))
    return (
        boxes.select("image_id", *(name for name in _BOX if name != "crop_id"))
        .join(names, on="box_id", how="inner", maintain_order="left")
        .sort("image_id", "box_id")
        .group_by("image_id", maintain_order=True)
        .agg(boxes=pl.struct(_BOX))
        .join(images.select("image_id", "width_px", "height_px"), on="image_id", maintain_order="left")
        .join(files.select("image_id", "path", "checksum", "failure"), on="image_id", how="left", maintain_order="left")
        .join(remote.rename({"failure": "no_address"}), on="image_id", how="left", maintain_order="left")
        .with_columns(failure=pl.coalesce("failure", "no_address"))
        .drop("no_address")
    )


def crop(
    units: pl.DataFrame,
    cfg: CropConfig,
    *,
    crops_dir: Path | Place,
    root: Path,
    parts: Parts,
    workers: int,
    log: Log,
    read_remote: Read | None = None,
    hash_frames: bool = True,
    engine: Engine = LOCAL,
) -> pl.DataFrame:
    """Cut every box out of its image (geometry.crop_window) and store it as its crop_id.

    Args:
        units: As `units` makes them.
        crops_dir: Where the crops are to lie: a folder (`crops_dir / crop_id`) or another place.
        root: What relative paths of `files` are relative to.
        parts: Where finished parts are committed; what is done there is not done again, unless its file is gone.
        workers: Threads that decode.
        read_remote: Reads an image that stays in its store, given place and key.
        engine: Where it runs.
        hash_frames: Make the `frame_hash` of every image, by which split finds frames that two places share. It needs
            the upper three quarters of the image; without it no row below the lowest box is decoded.

    Returns:
        CROPS rows, one per box. A box that gives no crop has its `failure`, and no path.
    """
    place = places.of(crops_dir)
    streaming = units["place"].count() > 0
    given = [units]
    del units  # map_rows gets the only reference, so that what is asked for is gone when what came of it is read

    def still_there(done: pl.DataFrame) -> pl.Series:
        made = done["path"].drop_nulls()
        gone = made.filter(place.state(made.to_list())["file_bytes"].is_null())
        lost = done["path"].is_in(gone.implode()) | done["failure"].str.starts_with(CANNOT_BE_HAD)
        return ~lost.fill_null(False)

    config = {**cfg.model_dump(exclude=set(cfg.inert)), "version": VERSIONS["crop"]}
    if not hash_frames:
        config["hash_frames"] = False
    crops = map_rows(
        partial(_Cropping, cfg, root, place, read_remote, hash_frames),
        given.pop(),
        engine=engine,
        key="image_id",
        config=config,
        parts=parts,
        part_rows=STREAMED_PART_IMAGES if streaming else PART_IMAGES,
        log=log,
        what="images cropped",
        workers=max(workers, STREAMING_WORKERS) if streaming or place.waits else workers,
        cores=STREAMING_CORES if streaming or place.waits else 1,
        still_good=still_there,
    )
    place.settle()
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


def remove_damaged(parts: Parts, crops_dir: Path | Place, log: Log) -> int:
    """Read every stored crop and remove those that do not hold what was written, so that they are made again.

    Returns:
        How many are damaged or gone.
    """
    done, place = parts.read(), places.of(crops_dir)
    stored = schemas.CROPS.empty() if done is None else done.drop_nulls("path")
    found = 0
    with log.progress("crops checked", stored.height) as advance:
        place.state(stored["path"].to_list())  # packs that went since are seen to be gone
        read = places.read_all(place, stored["path"].to_list())
        for (path, data), checksum in zip(read, stored["checksum"], strict=True):
            if data is None or crop_io.digest(data) != checksum:
                found += 1
                place.remove(path)
            advance(1)
    log.note(f"{stored.height:,} crops checked: {found:,} are damaged or gone" + (", and made again" if found else ""))
    return found


def named(images: pl.DataFrame, boxes: pl.DataFrame) -> pl.DataFrame:
    """box_id and crop_id of every box: <dataset>/<image file>___cropNN.jpg, ..._<detector>.jpg for a detector's box.

    NN counts the image's boxes in the order of their ids, from 00; there may be more than 100.
    """
    return (
        boxes.select("box_id", "image_id", "source")
        .join(images.select("image_id", "dataset", "file_name"), on="image_id", how="inner", maintain_order="left")
        .sort("image_id", "box_id")
        .with_columns(number=pl.int_range(pl.len()).over("image_id").cast(pl.String).str.zfill(2))
        .with_columns(by=pl.when(pl.col("source") == "human").then(pl.lit("")).otherwise(pl.format("_{}", "source")))
        .select(
            "box_id",
            crop_id=pl.when(pl.col("source") == schemas.READY_CROP)
            .then(pl.format("{}/{}", "dataset", "file_name"))
            .otherwise(pl.format("{}/{}___crop{}{}.jpg", "dataset", "file_name", "number", "by")),
        )
    )


class _Cropping(Work):
    def __init__(self, cfg: CropConfig, root: Path, place: Place, read_remote: Read | None, hash_frames: bool):
        self._cropper = _Cropper(cfg, root, place, Buffers(DECODED_BYTES), read_remote, hash_frames)
        self._stopped = Event()

    def __call__(self, rows: pl.DataFrame) -> pl.DataFrame:
        units = (unit for unit in rows.iter_rows(named=True) if not self._stopped.is_set())
        crops = _table(row for unit in units for row in self._cropper.crop_image(unit))
        self._cropper.place.sync(crops["path"].drop_nulls())
        return crops

    def failed(self, rows: pl.DataFrame, reason: str) -> pl.DataFrame:
        return _table(_failed(box, unit, reason) for unit in rows.iter_rows(named=True) for box in unit["boxes"])

    def stop(self) -> None:
        self._stopped.set()


def _table(rows: Iterable[tuple]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=schemas.CROPS.columns, orient="row")


@dataclass(frozen=True)
class _Cropper:
    """What every thread shares."""

    cfg: CropConfig
    root: Path
    place: Place
    buffers: Buffers
    read_remote: Read | None
    hash_frames: bool

    def crop_image(self, unit: dict) -> list[tuple]:
        """CROPS rows of one image, in the order of its boxes."""
        if unit["failure"] is not None:
            reason = None if unit["failure"] == schemas.NO_PICTURE else unit["failure"]
            return [_failed(box, unit, reason) for box in unit["boxes"]]
        try:
            data = self._read(unit)
            photo = Photo(data, self.cfg.max_pixels)
            return self._crop_photo(photo, data, unit)
        except (ImageFailure, ObjectFailure) as failure:
            again = CANNOT_BE_HAD if getattr(failure, "transient", False) else ""
            return [_failed(box, unit, f"{again}{failure}") for box in unit["boxes"]]

    def _read(self, unit: dict) -> bytes:
        if unit["place"] is None:
            return image_io.read(self.root / unit["path"])
        assert self.read_remote is not None, "remote images need something to read them with"
        return self.read_remote(unit["place"], unit["key"])

    def _crop_photo(self, photo: Photo, data: bytes, unit: dict) -> list[tuple]:
        width, height = photo.header.displayed_px
        resolved = [self._resolve(box, unit, photo.header) for box in unit["boxes"]]
        made = {
            place: _failed(unit["boxes"][place], unit, why)
            for place, why in enumerate(resolved)
            if isinstance(why, str)
        }
        spots = {place: spot for place, spot in enumerate(resolved) if isinstance(spot, geometry.ResolvedBox)}
        hashed = None
        for turn, (cutter, group) in enumerate(
            cutters(
                photo,
                spots,
                self.cfg.style,
                self.cfg.max_size,
                self.buffers,
                least_rows=crop_io.hashed_rows(height) if self.hash_frames else 1,
                whole=any(box["source"] == schemas.READY_CROP for box in unit["boxes"]),
                keep_truncated=self.cfg.truncated == "use",
            )
        ):
            picture = cutter.picture
            if not turn and self.hash_frames and picture.within is None:
                hashed = crop_io.frame_hash(picture.pixels, -(-height // picture.scale))
            for place, spot in group.items():
                box = unit["boxes"][place]
                if box["source"] == schemas.READY_CROP:
                    made[place] = self._take(box, unit, data, picture, (width, height), hashed)
                else:
                    made[place] = self._store(box, unit, spot, cutter, hashed)
        return [made[place] for place in range(len(resolved))]

    def _resolve(self, box: dict, unit: dict, header: geometry.Header) -> geometry.ResolvedBox | str:
        """Where the box is in the displayed image, or why it is nowhere."""
        stated = (unit["width_px"], unit["height_px"])
        given = geometry.GivenBox(
            *(box[side] for side in ("box_x", "box_y", "box_w", "box_h")),
            unit=box["unit"],
            frame=box["frame"] if self.cfg.box_frame == "auto" else self.cfg.box_frame,
            stated_px=None if None in stated else stated,
        )
        try:
            return geometry.resolve(given, header)
        except ValueError as error:
            return str(error)

    def _store(self, box: dict, unit: dict, spot: geometry.ResolvedBox, cutter: Cutter, hashed: str | None) -> tuple:
        try:
            piece = cutter.cut(spot)
        except ValueError as error:
            return _failed(box, unit, str(error))
        checksum = crop_io.write_jpeg(piece, self.place, box["crop_id"], self.cfg.quality)
        grey = crop_io.is_grey(piece)
        names = (box["crop_id"], box["box_id"], unit["image_id"], box["crop_id"])
        return (*names, piece.shape[1], piece.shape[0], grey, spot.frame_unclear, checksum, hashed, None)

    def _take(
        self, box: dict, unit: dict, data: bytes, picture: Picture, size_px: tuple[int, int], hashed: str | None
    ) -> tuple:
        """A picture that is a crop already, as it is."""
        folder = self.place.folder
        if unit["place"] is None and folder is not None:
            checksum = crop_io.take(self.root / unit["path"], folder / box["crop_id"])
        else:
            checksum = crop_io.write(data, self.place, box["crop_id"])
        names = (box["crop_id"], box["box_id"], unit["image_id"], box["crop_id"])
        return (*names, *size_px, crop_io.is_grey(picture.pixels), False, checksum, hashed, None)


def _failed(box: dict, unit: dict, reason: str | None) -> tuple:
    """The row of a box that gave no crop."""
    return (box["crop_id"], box["box_id"], unit["image_id"], *[None] * 7, reason)
