"""New images -> scores of their boxes, in the formats that the field uses; in pieces, so that memory does not grow."""

import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from trapline.apps.decide import decide_predictions
from trapline.apps.predict_images.classifier import Classifier, find
from trapline.apps.predict_images.given import (
    PIECE_IMAGES,
    WIDE_PIECE_IMAGES,
    Given,
    GivenDetections,
    GivenPictures,
    Place,
)
from trapline.apps.predict_images.outputs import About, Package, Scored, formats_of, summed, writing
from trapline.apps.predict_images.scoring import Scoring
from trapline.apps.predict_images.tally import Tally
from trapline.core.config import DecideConfig, PredictConfig
from trapline.core.errors import InputError
from trapline.core.label_sums import label_sums
from trapline.core.log import Log
from trapline.core.new_images import NewImagesConfig
from trapline.engine.local import LOCAL
from trapline.engine.mapping import Engine
from trapline.formats import places_csv, target_mapping
from trapline.formats.megadetector_merged import TYPICAL
from trapline.io.ledger import lock

SCORES = "scores.parquet"


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
    images_table: Path | None = None,
    package: Package | None = None,
    decide: Path | None = None,
    project: Path = Path(),
    log: Log,
    engine: Engine = LOCAL,
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
        images_table: CSV of path and location, datetime, sequence.
        package: What Camtrap DP wants to know besides.
        decide: A folder for the decisions on the scores, and these themselves.
        engine: Where it runs.

    Raises:
        InputError: Something that is named is not there, or does not fit the others.
    """
    package = package or Package()
    kinds = formats_of(outputs, to, package, at_least=0 if decide is not None else 1)
    found = find(predict_cfg.run, project, log)
    if decide is not None and (found.run_dir is None or found.known.multilabel):
        raise InputError("--decide needs a run whose crops have one label each: its folder holds the thresholds.")
    sums = label_sums(target_mapping.read(label_mapping), found.labels, found.labels) if label_mapping else None
    told = places_csv.read_images(images_table) if images_table is not None else None
    given = _given(Place(images), cfg, detections, found, log, crops=crops)
    first = outputs[0] if outputs else cast(Path, decide) / SCORES
    work = first.with_name(f"{first.name}.parts")
    about = About(
        labels=sums.targets if sums is not None else found.labels,
        classifier=found.name,
        given=given.results if isinstance(given, GivenDetections) else None,
        crop_suffix=given.crop_suffix,
        typical=TYPICAL,
        package=package,
    )
    tally = Tally()
    with lock(work / "lock"), ExitStack() as stack:
        scoring = Scoring(found, cfg, predict_cfg, Place(images), work, told=told, log=log, engine=engine)
        written = [
            stack.enter_context(writing(path, kind, about, work / f"rows {n}", log))
            for n, (path, kind) in enumerate(zip(outputs, kinds, strict=True))
        ]
        own = [stack.enter_context(writing(decide / SCORES, "parquet", about, work / "rows", log))] if decide else []
        with log.progress("images classified", given.n_images) as advance:
            for number, piece in enumerate(given.pieces(PIECE_IMAGES if engine is LOCAL else WIDE_PIECE_IMAGES)):
                rows = scoring.rows(piece, number, advance)
                tally.add(rows)
                for output in own:
                    output.add(Scored(rows, piece.records))
                shown = summed(rows, sums)
                for output in written:
                    output.add(Scored(shown, piece.records))
    shutil.rmtree(work, ignore_errors=True)
    tally.tell(given, log)
    if images_table is not None and not scoring.placed:
        log.warn(f"{images_table.name} names none of the images: their places and times are as before.")
    if decide is not None:
        run_dir = cast(Path, found.run_dir)
        decide_predictions(decide / SCORES, run_dir, decide, DecideConfig(), log=log)
    return Predicted(given.n_images, tally.failed, [*outputs, *([decide] if decide is not None else [])])


def _given(
    place: Place, cfg: NewImagesConfig, detections: Path | None, found: Classifier, log: Log, *, crops: bool
) -> Given:
    if detections is not None:
        return GivenDetections(detections, place, cfg, found.labels, log)
    given = GivenPictures(place, ready=crops)
    if not crops:
        log.warn(
            f"without --detections each of the {given.n_images:,} images is classified whole, as one box. A "
            "classifier of crops is less sure of whole frames: detect first (trapline detect), or say --crops if "
            "the pictures are crops."
        )
    return given
