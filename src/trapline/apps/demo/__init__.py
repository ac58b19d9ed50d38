"""The generator behind `trapline demo`: draw a whole camera-trap project from a seed, with known faults planted.

Written under `directory`:

- `annotations/demo_export.json`: Animl's export (COCO Camera Traps, the layout since 2025-05);
- `images/demo/<file_name>`: the JPEGs, `file_name` as in the export;
- `planted/wrong_labels.csv`: image_id, annotation_id, true_label, given_label;
- `planted/duplicates.csv`: image_id (of the copy), original_image_id;
- `planted/broken.csv`: image_id, file_name, kind (truncated, zero_bytes, text, missing);
- `planted/drawn.json`: what was drawn (size, seed, version) and whether it is complete.

The same size and seed give the same bytes, whatever `workers` is and however often drawing was interrupted.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, fields
from multiprocessing import get_context
from pathlib import Path

from trapline.apps.demo import export, picture, plan, scenery
from trapline.apps.demo.export import Broken, Duplicate, WrongLabel
from trapline.apps.demo.picture import Box
from trapline.apps.demo.plan import FULL, SMALL, DemoSize, Frame, Plan

__all__ = ["FULL", "SMALL", "Broken", "DemoSize", "Duplicate", "Planted", "WrongLabel", "draw"]

DATASET = "demo"


@dataclass(frozen=True)
class Planted:
    """What `draw` drew: where the export and the pictures are, totals, and the faults, in the order of the export.

    `n_images` counts the export's images (the broken and the missing among them), `n_boxes` its boxes that are not
    `empty`, people's included.
    """

    annotations: Path
    images: Path
    n_cameras: int
    n_images: int
    n_boxes: int
    n_empty: int
    wrong_labels: tuple[WrongLabel, ...]
    duplicates: tuple[Duplicate, ...]
    broken: tuple[Broken, ...]


def draw(
    directory: Path,
    *,
    size: DemoSize = FULL,
    seed: int = 0,
    workers: int = 2,
    on_progress: Callable[[int, int], None] | None = None,
) -> Planted:
    """Draw the demo project under `directory`, or what is still missing of it.

    Args:
        directory: Created if need be. Pictures of another seed, size or version are removed first.
        size: FULL, or SMALL for tests.
        seed: Fixes every byte.
        workers: Processes that draw; 1 draws in this one.
        on_progress: Called with (images done, images in all) after each camera.

    Raises:
        FileExistsError: `directory/images/demo` holds files that this function did not draw.
    """
    project = plan.plan(size, seed)
    images, marker = directory / "images" / DATASET, directory / "planted" / "drawn.json"
    identity = {"version": plan.VERSION, "seed": seed, "size": asdict(size)}
    planted = _planted(directory, project)
    outputs = [planted.annotations, *(directory / "planted" / f"{name}.csv" for name in _FAULTS)]
    state = json.loads(marker.read_bytes()) if marker.exists() else {}
    known = {name: value for name, value in state.items() if name != "complete"} == identity
    missing = [
        frame for frame in project.frames if frame.broken != "missing" and not (images / frame.file_name).exists()
    ]
    if known and state["complete"] and not missing and all(path.exists() for path in outputs):
        return planted
    if not known:
        if not state and images.exists() and any(images.iterdir()):
            raise FileExistsError(
                f"{images} holds files that the demo did not draw. Choose another directory, or move them away."
            )
        shutil.rmtree(images, ignore_errors=True)
        export.write_whole(marker, _document(identity, complete=False))
    boxes: dict[str, Box] = {}
    done = 0
    for part in _drawn(project, images, workers):
        boxes.update(part)
        done = len({frame.image_id for frame in project.frames if all(f.annotation_id in boxes for f in frame.figures)})
        if on_progress:
            on_progress(done, len(project.frames))
    for name, rows in zip(_FAULTS, (planted.wrong_labels, planted.duplicates, planted.broken), strict=True):
        header = [field.name for field in fields(_FAULTS[name])]
        export.write_rows(
            directory / "planted" / f"{name}.csv", header, [[getattr(row, field) for field in header] for row in rows]
        )
    export.write_export(planted.annotations, project, boxes)
    export.write_whole(marker, _document(identity, complete=True))
    return planted


_FAULTS = {"wrong_labels": WrongLabel, "duplicates": Duplicate, "broken": Broken}


def _document(identity: dict[str, object], *, complete: bool) -> bytes:
    return (json.dumps({**identity, "complete": complete}, indent=1) + "\n").encode()


def _planted(directory: Path, project: Plan) -> Planted:
    wrong, copies, broken = export.faults(project)
    return Planted(
        annotations=directory / "annotations" / "demo_export.json",
        images=directory / "images" / DATASET,
        n_cameras=len(project.cameras),
        n_images=len(project.frames),
        n_boxes=sum(len(frame.figures) for frame in project.frames),
        n_empty=sum(not frame.figures for frame in project.frames),
        wrong_labels=wrong,
        duplicates=copies,
        broken=broken,
    )


def _drawn(project: Plan, images: Path, workers: int) -> Iterator[dict[str, Box]]:
    """Draw camera by camera (a backdrop serves all its frames); yield the boxes of each camera, in any order."""
    numbers = range(len(project.cameras))
    if workers <= 1:
        for number in numbers:
            yield _draw_camera(project.size, project.seed, number, images)
        return
    # Spawned, not forked: the caller may have threads (torch, polars) that a fork would leave locked.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        waiting = [pool.submit(_draw_camera, project.size, project.seed, number, images) for number in numbers]
        for job in as_completed(waiting):
            yield job.result()


def _draw_camera(size: DemoSize, seed: int, number: int, images: Path) -> dict[str, Box]:
    """Write the missing pictures that one camera took (and their copies); return boxes by annotation id."""
    project = plan.plan(size, seed)
    by_id = {frame.image_id: frame for frame in project.frames}
    boxes: dict[str, Box] = {}
    backdrops: dict[int, scenery.Backdrop] = {}
    for frame in project.frames:
        source = by_id[frame.copy_of] if frame.copy_of else frame
        if source.camera == number:
            boxes.update(_draw_frame(frame, source, project, images / frame.file_name, backdrops))
    return boxes


def _draw_frame(
    frame: Frame, source: Frame, project: Plan, path: Path, backdrops: dict[int, scenery.Backdrop]
) -> dict[str, Box]:
    camera, size = project.cameras[source.camera], project.size
    ground = scenery.ground_of(camera, source.deployment)
    placed = picture.place(frame, ground, size.width_px, size.height_px)
    if frame.broken != "missing" and not path.exists():
        if source.deployment not in backdrops:
            backdrops[source.deployment] = scenery.backdrop(camera, source.deployment, size.width_px, size.height_px)
        data = picture.encode(picture.compose(frame, camera, backdrops[source.deployment], placed), frame, camera)
        export.write_whole(path, picture.spoil(data, frame.broken) if frame.broken else data)
    return {item.figure.annotation_id: item.box for item in placed}
