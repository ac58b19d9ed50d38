"""Write the demo's annotations as Animl exports them (since 2025-05), and the lists of what was planted."""

import csv
import io
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trapline.apps.demo.chance import stream, token
from trapline.apps.demo.picture import Box
from trapline.apps.demo.plan import SHARES, UNUSED_LABELS, Frame, Plan

PEOPLE = ("65c2f1-ranger-ana", "7d10be-ranger-kim", "a8e44f-volunteer-li")


@dataclass(frozen=True)
class WrongLabel:
    """A box whose label in the export is not what was drawn."""

    image_id: str
    annotation_id: str
    true_label: str
    given_label: str


@dataclass(frozen=True)
class Duplicate:
    """A picture that is a copy of another camera's picture."""

    image_id: str
    original_image_id: str


@dataclass(frozen=True)
class Broken:
    """A picture that cannot be read; `kind` is truncated, zero_bytes, text or missing."""

    image_id: str
    file_name: str
    kind: str


def faults(project: Plan) -> tuple[tuple[WrongLabel, ...], tuple[Duplicate, ...], tuple[Broken, ...]]:
    """Return what is planted, in the order of the export."""
    wrong = [
        WrongLabel(frame.image_id, figure.annotation_id, figure.true_label, figure.given_label)
        for frame in project.frames
        for figure in frame.figures
        if figure.given_label != figure.true_label
    ]
    copies = [Duplicate(frame.image_id, frame.copy_of) for frame in project.frames if frame.copy_of]
    broken = [Broken(frame.image_id, frame.file_name, frame.broken) for frame in project.frames if frame.broken]
    return tuple(wrong), tuple(copies), tuple(broken)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that it appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".part")
    beside.write_bytes(data)
    os.replace(beside, path)


def write_rows(path: Path, header: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """Write a CSV file of text columns."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(header)
    table.writerows(rows)
    write_whole(path, text.getvalue().encode())


def write_export(path: Path, project: Plan, boxes: Mapping[str, Box]) -> None:
    """Write the export; `boxes` has [x, y, w, h] in whole pixels by annotation id."""
    labels = ["person", *UNUSED_LABELS, *SHARES]
    order = stream(project.seed, "categories").permutation(len(labels))
    ids = {"empty": 0, **{labels[i]: number + 1 for number, i in enumerate(order.tolist())}}
    annotations = [row for frame in project.frames for row in _annotations(frame, project, ids, boxes)]
    document = {
        "images": [_image(frame, project) for frame in project.frames],
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for name, number in ids.items()],
        "info": {
            "version": "1.0",
            "description": "Images exported from trapline's demo; every picture is drawn",
            "year": 2025,
            "date_created": "2025-09-01T09:00:00.000-08:00",
        },
    }
    write_whole(path, (json.dumps(document, indent=4) + "\n").encode())


def _image(frame: Frame, project: Plan) -> dict[str, Any]:
    return {
        "id": frame.image_id,
        "file_name": frame.file_name,
        "original_file_name": frame.original_file_name,
        "serving_bucket_key": f"original/{frame.image_id}-original.jpg",
        "datetime": frame.captured_at.isoformat(timespec="milliseconds"),
        "location": project.cameras[frame.camera].deployments[frame.deployment],
        "width": project.size.width_px,
        "height": project.size.height_px,
    }


def _annotations(frame: Frame, project: Plan, ids: dict[str, int], boxes: Mapping[str, Box]) -> list[dict[str, Any]]:
    full = (0, 0, project.size.width_px, project.size.height_px)
    things = [(figure.annotation_id, figure.given_label, boxes[figure.annotation_id], figure.machine_conf)
              for figure in frame.figures] or [(frame.annotation_id, "empty", full, None)]  # fmt: skip
    reviewer = PEOPLE[int(token(frame.image_id, "reviewer", length=4), 16) % len(PEOPLE)]
    return [
        {
            "id": annotation_id,
            "image_id": frame.image_id,
            "category_id": ids[label],
            "sequence_level_annotation": False,
            "bbox": list(box),
            "confidence": conf,
            "validated": conf is None,
            "validated_by": reviewer if conf is None else "Not Reviewed",
        }
        for annotation_id, label, box, conf in things
    ]
