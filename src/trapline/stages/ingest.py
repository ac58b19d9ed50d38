"""Annotation files -> images, locations, boxes, labels: one row per thing, nothing dropped silently."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from trapline.core import boxes, merging, pairing, places, schemas, urls
from trapline.core.alignment import align
from trapline.core.config import IngestConfig
from trapline.core.errors import InputError
from trapline.core.keys import in_order
from trapline.core.log import Log
from trapline.formats import annotations, recognise
from trapline.formats.annotations import Annotations


@dataclass(frozen=True)
class AnnotationFile:
    """An annotation file and the dataset whose images it describes; `ready_made` where these are crops already."""

    dataset: str
    path: Path
    ready_made: bool = False


@dataclass(frozen=True)
class Ingested:
    """The four tables that annotations become (DESIGN.md section 4)."""

    images: pl.DataFrame
    locations: pl.DataFrame
    boxes: pl.DataFrame
    labels: pl.DataFrame


def ingest(files: Sequence[AnnotationFile], cfg: IngestConfig, *, log: Log) -> Ingested:
    """Read every annotation file and merge them: labels by name, images by id and path, the newest export first.

    Boxes of `empty_labels` are not objects: such an image gets a label for the whole image and no box. People and
    vehicles are objects with labels of their own.

    Raises:
        InputError: A file is missing or cannot be used (all of them are named), or no image is left.
    """
    read = _aligned(files, _read_all(files), log)
    for file, export in zip(files, read, strict=True):
        for note in export.notes:
            log.warn(f"{file.path.name}: {note}")
    ranks = _ranks(read)
    listed = pl.concat(map(_tagged, (export.images for export in read), files, ranks, read))
    objects = pl.concat(map(_tagged, (export.objects for export in read), files, ranks, read))
    images, objects = merging.merge(listed, objects, log)
    if not images.height:
        raise InputError("no usable image is listed in " + ", ".join(file.path.name for file in files) + ".")
    found_boxes, labels = pairing.pair(
        *boxes.boxes_and_labels(objects, cfg, log),
        threshold=cfg.detection_threshold,
        rule=cfg.animals,
        empty_labels=cfg.empty_labels,
        log=log,
    )
    images = places.name_places(images, log)
    images = places.name_sequences(images, cfg.sequence_gap_s, log)
    images = images.with_columns(uri=_without_secrets(images["uri"]))
    return Ingested(
        in_order(images.select(list(schemas.IMAGES.columns)), "image_id"),
        places.locations(images),
        in_order(found_boxes, "box_id"),
        labels.sort("image_id", "box_id", "source_label"),
    )


def _read_all(files: Sequence[AnnotationFile]) -> list[Annotations]:
    """Read every file, naming all that fail."""
    read: list[Annotations] = []
    problems: list[str] = []
    for file in files:
        try:
            found = recognise.read(file.path, file.dataset)
            read.append(annotations.as_ready_made(found) if file.ready_made else found)
        except InputError as error:
            problems.append(str(error))
    if problems:
        raise InputError(f"{len(problems)} of {len(files)} annotation files cannot be used:", problems)
    return read


def _aligned(files: Sequence[AnnotationFile], read: Sequence[Annotations], log: Log) -> list[Annotations]:
    """The files, with a detector's paths relative to the folder that the annotations' are relative to."""
    result = []
    for file, export in zip(files, read, strict=True):
        by_people = [
            other.images["file_name"]
            for beside, other in zip(files, read, strict=True)
            if beside.dataset == file.dataset and not other.detections
        ]
        if export.detections and by_people:
            known = pl.concat(by_people)
            paths, words = align(export.images["file_name"], known)
            if words:
                log.note(f"{file.path.name}: {words}, so that they are those of the annotations.")
            elif not paths.is_in(known.implode()).any():
                log.warn(
                    f"no image of {file.path.name} is listed by the other annotation files (first: {paths.first()!r}, "
                    f"there: {known.first()!r}): its detections pair with no label. Paths must name the same files."
                )
            export = replace(export, images=export.images.with_columns(file_name=paths))  # noqa: PLW2901
        result.append(export)
    return result


def _without_secrets(uris: pl.Series) -> pl.Series:
    """URLs as they may be stored; only those that have a user, a query or a fragment are taken apart."""
    may_hold = uris.str.contains("://.*[@?#]").fill_null(False)
    if not may_hold.any():
        return uris
    return pl.Series(
        uris.name,
        [urls.without_secrets(uri) if may else uri for uri, may in zip(uris, may_hold, strict=True)],
        dtype=pl.String,
    )


def _ranks(read: Sequence[Annotations]) -> list[int]:
    """0 for the newest file of all (by its own date, then by order), 1 for the next, ..."""
    newest = sorted(range(len(read)), key=lambda n: (_instant(read[n].created), n), reverse=True)
    return [newest.index(n) for n in range(len(read))]


def _instant(created: str) -> datetime:
    """When an export was made; exports that do not say so readably are the oldest."""
    try:
        moment = datetime.fromisoformat(created)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return datetime.min.replace(tzinfo=UTC)


def _tagged(frame: pl.DataFrame, file: AnnotationFile, rank: int, export: Annotations) -> pl.DataFrame:
    return frame.with_columns(
        dataset=pl.lit(file.dataset), rank=pl.lit(rank, pl.Int64), detections=pl.lit(export.detections)
    )
