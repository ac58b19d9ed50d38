"""New images -> scores of their boxes, in the formats that the field uses; in pieces, so that memory does not grow."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import polars as pl

from trapline.apps.predict_images.classifier import Classifier, find
from trapline.apps.predict_images.given import Given, GivenDetections, GivenPictures, Piece, Place
from trapline.apps.predict_images.outputs import COLUMNS, About, Output, Scored, format_of, with_scores, writing
from trapline.core import calibration
from trapline.core.config import PredictConfig
from trapline.core.errors import InputError
from trapline.core.label_sums import LabelSums, label_sums
from trapline.core.log import Advance, Log
from trapline.core.new_images import NewImagesConfig
from trapline.core.places import clock
from trapline.formats import target_mapping
from trapline.io import objects
from trapline.io.ledger import Parts, file_digest, lock
from trapline.learn import device as devices
from trapline.learn.deployed import Deployed
from trapline.stages.classify import classify


@dataclass(frozen=True)
class Predicted:
    """What came of it.

    Args:
        images: How many there were.
        failed: How many could not be read.
        outputs: What was written.
    """

    images: int
    failed: int
    outputs: Sequence[Path]


def predict_images(
    images: str,
    outputs: Sequence[Path],
    cfg: NewImagesConfig,
    predict_cfg: PredictConfig,
    *,
    detections: Path | None = None,
    crops: bool = False,
    to: Sequence[str] = (),
    label_mapping: Path | None = None,
    project: Path = Path(),
    log: Log,
) -> Predicted:
    """Classify the boxes of new images and write what was found.

    Killed and started again, it goes on where it was. Every image is in the outputs once.

    Args:
        images: The folder, or URL, that names of images are relative to.
        outputs: Files to write; the first one's name is also that of the folder that keeps unfinished work.
        predict_cfg: The run (of the project, a folder, or a checkpoint's file), batch size, device.
        detections: A detector's results, which name the images. Default: every picture of the folder, each as one box.
        crops: The pictures are crops already.
        to: The format of each output. Default: by its ending.
        label_mapping: JSON of target -> labels, whose probabilities are summed in what is written.

    Raises:
        InputError: Something that is named is not there, or does not fit the others.
    """
    kinds = _formats(outputs, to)
    found = find(predict_cfg.run, project, log)
    sums = label_sums(target_mapping.read(label_mapping), found.labels, found.labels) if label_mapping else None
    place = Place(images)
    given: Given
    if detections is not None:
        given = GivenDetections(detections, place, cfg, found.labels, log)
    else:
        given = GivenPictures(place, ready=crops)
        if not crops:
            log.warn(
                f"without --detections each of the {given.n_images:,} images is classified whole, as one box. A "
                "classifier of crops is less sure of whole frames: detect first (trapline detect), or say --crops if "
                "the pictures are crops."
            )
    work = outputs[0].with_name(f"{outputs[0].name}.parts")
    about = About(
        labels=sums.targets if sums is not None else found.labels,
        classifier=found.name,
        given=given.results if isinstance(given, GivenDetections) else None,
        crop_suffix=given.crop_suffix,
        typical=0.5,
    )
    with lock(work / "lock"), ExitStack() as stack:
        opened = [
            stack.enter_context(writing(path, kind, about, work / f"rows {n}"))
            for n, (path, kind) in enumerate(zip(outputs, kinds, strict=True))
        ]
        tally = _Tally()
        scoring = _Scoring(found, cfg, predict_cfg, place, work, log)
        with log.progress("images classified", given.n_images) as advance:
            for number, piece in enumerate(given.pieces()):
                rows = scoring.rows(piece, number, advance)
                tally.add(rows)
                _write(opened, rows, piece, sums)
    shutil.rmtree(work, ignore_errors=True)
    tally.tell(given, log)
    return Predicted(given.n_images, tally.failed, outputs)


def _formats(outputs: Sequence[Path], to: Sequence[str]) -> list[str]:
    if not outputs:
        raise InputError("nothing is to be written. Name a file: --out OUT.json")
    if to and len(to) != len(outputs):
        raise InputError(f"--to is given {len(to)} times and --out {len(outputs)} times: one format for every output.")
    if len(set(outputs)) < len(outputs):
        raise InputError("two outputs have the same name.")
    return [format_of(path, to[n] if to else None) for n, path in enumerate(outputs)]


def _write(outputs: Sequence[Output], rows: pl.DataFrame, piece: Piece, sums: LabelSums | None) -> None:
    if sums is not None:
        values = rows["scores"].drop_nulls()
        rows = with_scores(rows, sums.sum(values.to_numpy()) if len(values) else 0.0, len(sums.targets))  # type: ignore[arg-type]
    for output in outputs:
        output.add(Scored(rows, piece.records))


class _Scoring:
    """Scores pieces of images, each with a folder of committed parts of its own."""

    def __init__(
        self, found: Classifier, cfg: NewImagesConfig, predict_cfg: PredictConfig, place: Place, work: Path, log: Log
    ):
        self._found, self._cfg, self._batch, self._work, self._log = found, cfg, predict_cfg.batch_size, work, log
        device = devices.resolve(predict_cfg.device)
        self._model = cache(lambda: Deployed(found.known, device, precision=cfg.precision))
        self._read = None if place.folder is not None else objects.open_store(place.where, cfg.store()).read
        self._made_with = {"checkpoint": file_digest(found.path), "precision": cfg.precision, "device": device.type}

    def rows(self, piece: Piece, number: int, advance: Advance) -> pl.DataFrame:
        """DETECTION_SCORES rows and `unlike` of a piece, calibrated; an image's together, in their order."""
        n_labels = len(self._found.labels)
        found = classify(
            piece.units,
            self._model,
            self._found.crops,
            n_labels=n_labels,
            made_with=self._made_with,
            batch_size=self._batch,
            parts=Parts(self._work / f"{number:06d}"),
            log=(within := _Within(advance)),
            read=self._read,
            threads=self._cfg.num_workers,
        )
        advance(piece.units.height - within.done)  # what was done before
        boxes = piece.units.select("file", "boxes").explode("boxes").drop_nulls("boxes").unnest("boxes")
        conf = [piece.confs.get(key) for key in boxes.select("file", "detection").iter_rows()]
        boxes = boxes.with_columns(conf=pl.Series(conf, dtype=pl.Float64))
        rows = found.join(boxes, on=["file", "detection"], how="left", maintain_order="left")
        rows = rows.join(piece.places, on="file", how="left", maintain_order="left")
        rows = rows.with_columns(
            captured_at=clock(rows.select(told=pl.coalesce("stated", "captured"))["told"]),
            failure=pl.coalesce("detector_failure", "failure"),
            image_id=pl.lit(None, pl.String),
            unlike=pl.lit(None, pl.Boolean),
        )
        values = rows["scores"].drop_nulls()
        if len(values):
            rows = with_scores(rows, calibration.apply(self._found.calibration, values.to_numpy()), n_labels)
        return rows.select(list(COLUMNS))


class _Within(Log):
    """What a piece says goes unheard, but for how far it is."""

    def __init__(self, advance: Advance):
        super().__init__()
        self._advance, self.done = advance, 0

    @contextmanager
    def progress(self, what: str, total: int, unit: str = "") -> Iterator[Advance]:
        def advance(n: int = 1, info: str = "") -> None:
            self.done += n
            self._advance(n, info)

        yield advance


@dataclass
class _Tally:
    """What was counted over all pieces."""

    boxes: int = 0
    failed_boxes: int = 0
    failed: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    first: dict[str, str] = field(default_factory=dict)

    def add(self, rows: pl.DataFrame) -> None:
        boxes = rows.filter(pl.col("detection").is_not_null())
        self.boxes += boxes.height
        self.failed_boxes += boxes.filter(pl.col("failure").is_not_null()).height
        failed = rows.filter(pl.col("failure").is_not_null()).unique("file", keep="first", maintain_order=True)
        self.failed += failed.filter(~pl.col("failure").str.starts_with("detector: ")).height
        for file, reason in failed.select("file", "failure").iter_rows():
            self.reasons[reason] = self.reasons.get(reason, 0) + 1
            self.first.setdefault(reason, file)

    def tell(self, given: Given, log: Log) -> None:
        left_out = dict(given.left_out) if isinstance(given, GivenDetections) else {}
        listed = self.boxes + sum(left_out.values())
        left_out["could not be classified"] = self.failed_boxes
        log.account("boxes", listed, "classified", self.boxes - self.failed_boxes, left_out)
        for reason, n in sorted(self.reasons.items(), key=lambda item: -item[1])[:5]:
            log.warn(f"{n:,} images: {reason} (first: {self.first[reason]})")
