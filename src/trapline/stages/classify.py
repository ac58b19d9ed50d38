"""classify: boxes of new images to scores; each image decoded once, its crops made in memory as crop stores them."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from trapline.core import cores, geometry
from trapline.core.config import CropConfig
from trapline.core.log import Log
from trapline.engine.local import LOCAL
from trapline.engine.mapping import Engine, Work, map_rows
from trapline.io import images as image_io
from trapline.io.boxed import photo_inputs
from trapline.io.buffers import Buffers
from trapline.io.images import ImageFailure
from trapline.io.ledger import Parts
from trapline.io.objects import ObjectFailure
from trapline.io.photo import Photo
from trapline.learn.deployed import Deployed
from trapline.learn.infer import infer_many
from trapline.learn.rows import as_arrays
from trapline.learn.transforms import load_for_evaluation

VERSION = 1
PART_IMAGES = 256  # what a kill can cost: some seconds
DECODED_BYTES = 160_000_000  # pixels in memory at a time, whatever the number of threads
CANNOT_BE_HAD = "cannot be had now: "  # such an image is tried again the next time
REMOTE_THREADS = 16  # most of their time they wait for the store

BOX = pl.Struct(
    {"detection": pl.Int64, "box_x": pl.Float64, "box_y": pl.Float64, "box_w": pl.Float64, "box_h": pl.Float64}
)
UNITS = {
    "file": pl.String,  # unique
    "key": pl.String,  # where the image is read: a path, or an object's key
    "stamp": pl.String,  # stands for the content; null where that is not known
    "ready": pl.Boolean,  # the picture is a crop already, taken whole
    "boxes": pl.List(BOX),  # fractions of the displayed image
    "failure": pl.String,  # why there is nothing to read
}
CLASSIFIED = {
    "file": pl.String,
    "detection": pl.Int64,  # null for an image without boxes
    "captured": pl.String,  # EXIF's DateTimeOriginal
    "width_px": pl.Int64,  # of the image as displayed
    "height_px": pl.Int64,
    "distance": pl.Float32,  # to what the run was trained on; null where that is not measured
    "failure": pl.String,
}
Read = Callable[[str], bytes]


def classify(
    units: pl.DataFrame,
    model: Callable[[], Deployed],
    cfg: CropConfig,
    *,
    n_labels: int,
    made_with: Mapping[str, object],
    batch_size: int,
    parts: Parts,
    log: Log,
    read: Read | None = None,
    threads: int = 0,
    engine: Engine = LOCAL,
) -> pl.DataFrame:
    """Classify the boxes of images; what is done and committed is not done again.

    Args:
        units: A row per image (UNITS).
        model: The classifier, called only if there is something to do, in whatever process. Values are probabilities of
            `n_labels` labels and perhaps a distance.
        cfg: How crops are cut: as those that the classifier was trained on.
        made_with: What else decides the outcome: the checkpoint, the arithmetic.
        read: Reads an image by its key. Default: a file.
        threads: That read and decode; 0 takes one per CPU core.
        engine: Where it runs.

    Returns:
        A row per box, in their order (CLASSIFIED and `scores`); and one for each image without a box, whose failure, if
        any, is why its header could not be read.
    """

    def still_good(done: pl.DataFrame) -> pl.Series:
        return ~done["failure"].str.starts_with(CANNOT_BE_HAD).fill_null(False)

    crops = cfg.model_dump(include={"style", "max_size", "quality", "truncated", "max_pixels"})
    return map_rows(
        partial(_Classifying, model, cfg, read, n_labels, batch_size, threads),
        units,
        engine=engine,
        key="file",
        config={"version": VERSION, "crops": crops, **made_with},
        parts=parts,
        part_rows=PART_IMAGES,
        log=log,
        what="images classified",
        gpu=True,
        still_good=still_good,
    )


class _Classifying(Work):
    def __init__(
        self,
        model: Callable[[], Deployed],
        cfg: CropConfig,
        read: Read | None,
        n_labels: int,
        batch_size: int,
        threads: int,
    ):
        self._model, self._n_labels, self._batch_size = model, n_labels, batch_size
        self._threads = _threads(threads, read)
        self._cutting = _Cutting(cfg, Buffers(DECODED_BYTES), read or _read_file)

    def __call__(self, rows: pl.DataFrame) -> pl.DataFrame:
        if not rows.height:
            return pl.DataFrame(schema={**CLASSIFIED, "scores": pl.Array(pl.Float32, self._n_labels)})
        deployed = self._model()

        def load(unit: dict) -> Sequence[np.ndarray | str]:
            return self._cutting.crops(unit, deployed)

        made: list[tuple] = []
        values: list[np.ndarray] = []
        groups = list(_groups(rows.iter_rows(named=True), self._batch_size))
        for group, loaded, found in infer_many(
            deployed, groups, load, batch_size=self._batch_size, device=deployed.device, threads=self._threads
        ):
            rest = iter(found if found is not None else ())
            for unit, crops in zip(group, loaded, strict=True):
                *about, why = self._cutting.told.pop(unit["file"])
                for box, crop in zip(unit["boxes"], crops, strict=True):
                    failure = crop if isinstance(crop, str) else None
                    made.append((unit["file"], box["detection"], *about, failure))
                    values.append(next(rest) if failure is None else self._no_score())
                if not unit["boxes"]:
                    made.append((unit["file"], None, *about, why))
                    values.append(self._no_score())
        return _rows(made, values, self._n_labels)

    def failed(self, rows: pl.DataFrame, reason: str) -> pl.DataFrame:
        units = rows.select("file", "boxes").iter_rows()
        made = [
            (file, box and box["detection"], None, None, None, reason)
            for file, boxes in units
            for box in boxes or [None]
        ]
        return _rows(made, [self._no_score()] * len(made), self._n_labels)

    def _no_score(self) -> np.ndarray:
        return np.full(self._n_labels, np.nan, np.float32)


def _threads(asked: int, read: Read | None) -> int:
    return asked or (REMOTE_THREADS if read is not None else cores.usable_cores())


def _groups(units: Iterator[dict], most: int) -> Iterator[list[dict]]:
    """Images whose crops are in memory at a time: about a batch of them."""
    group: list[dict] = []
    crops = 0
    for unit in units:
        group.append(unit)
        crops += len(unit["boxes"])
        if crops >= most or len(group) >= most:
            yield group
            group, crops = [], 0
    if group:
        yield group


def _rows(made: list[tuple], values: list[np.ndarray], n_labels: int) -> pl.DataFrame:
    columns = [name for name in CLASSIFIED if name != "distance"]
    frame = pl.DataFrame(made, schema={name: CLASSIFIED[name] for name in columns}, orient="row")
    scores = np.stack([row[:n_labels] for row in values])
    distance = [float(row[n_labels]) if len(row) > n_labels else None for row in values]
    return frame.with_columns(
        distance=pl.Series(distance, dtype=pl.Float32), scores=as_arrays(scores, n_labels)
    ).select(*CLASSIFIED, "scores")


class _Cutting:
    """What the threads that load share."""

    def __init__(self, cfg: CropConfig, buffers: Buffers, read: Read):
        self._cfg, self._buffers, self._read = cfg, buffers, read
        self.told: dict[str, tuple] = {}  # file -> when it was taken, its width and height, why it failed
        self._lock = threading.Lock()

    def crops(self, unit: dict, model: Deployed) -> Sequence[np.ndarray | str]:
        """The model's inputs of an image's boxes; in place of one that cannot be had, why."""
        about, failure = (None, None, None), unit["failure"]
        found: Sequence[np.ndarray | str] = ()
        if failure is None:
            try:
                about, found = self._cut(unit, model)
            except (ImageFailure, ObjectFailure) as error:
                failure = f"{CANNOT_BE_HAD if getattr(error, 'transient', False) else ''}{error}"
        with self._lock:
            self.told[unit["file"]] = (*about, failure)
        return found if failure is None else [failure] * len(unit["boxes"])

    def _cut(self, unit: dict, model: Deployed) -> tuple[tuple, Sequence[np.ndarray | str]]:
        transform = model.transform
        data = self._read(unit["key"])
        if unit["ready"]:
            return (None, None, None), [load_for_evaluation(data, transform)]
        photo = Photo(data, self._cfg.max_pixels)
        about = (image_io.taken_at(photo.image), *photo.header.displayed_px)
        if not unit["boxes"]:
            return about, ()
        boxes = [_given(box) for box in unit["boxes"]]
        return about, photo_inputs(photo, boxes, self._cfg, transform, self._buffers)


def _given(box: dict) -> geometry.GivenBox | str:
    """A box of the displayed image, or why it is none."""
    sides = [box[side] for side in ("box_x", "box_y", "box_w", "box_h")]
    if None in sides:
        return "detection has no box"
    return geometry.GivenBox(*sides, unit="fraction", frame="displayed")


def _read_file(key: str) -> bytes:
    return image_io.read(Path(key))
