"""A project's own predictions in the formats of new ones."""

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import polars as pl

from trapline.apps.decide import labels_of
from trapline.apps.predict_images.outputs import About, Package, Scored, formats_of, summed, writing
from trapline.apps.project_scores import project_scores
from trapline.core.label_sums import label_sums
from trapline.core.log import Log
from trapline.formats import target_mapping
from trapline.formats.megadetector_merged import TYPICAL
from trapline.project import Project

PIECE_IMAGES = 1024


def export_project(
    project: Project,
    outputs: Sequence[Path],
    *,
    to: Sequence[str] = (),
    label_mapping: Path | None = None,
    package: Package | None = None,
    log: Log,
) -> None:
    """Write what the newest prediction of a project says of its own boxes; every image of the project is in it once.

    Of crops that the run was trained on it flatters the run.

    Args:
        to: The format of each output. Default: by its ending.
        label_mapping: JSON of target -> labels, whose probabilities are summed.

    Raises:
        InputError: Something that is named does not fit.
    """
    package = package or Package()
    if package.locations is None and project.layout.locations.exists():
        package = replace(package, locations=project.layout.locations)
    kinds = formats_of(outputs, to, package)
    record = project.records.read("predict")
    run = str(record.facts["run"]) if record is not None else ""
    labels = labels_of(project.layout.run(run))
    sums = label_sums(target_mapping.read(label_mapping), labels, labels) if label_mapping else None
    sizes = project.table("images").select("image_id", "width_px", "height_px")
    rows = project_scores(project, run, labels, log).with_columns(unlike=pl.lit(None, pl.Boolean))
    rows = rows.join(sizes, on="image_id", how="left", maintain_order="left")
    number = rows["file"].rle_id()
    about = About(
        labels=sums.targets if sums is not None else labels,
        classifier=f"trapline {run}",
        given=None,
        crop_suffix="",
        typical=TYPICAL,
        package=package,
    )
    with tempfile.TemporaryDirectory() as work, ExitStack() as stack:
        written = [
            stack.enter_context(writing(path, kind, about, Path(work) / f"rows {n}", log))
            for n, (path, kind) in enumerate(zip(outputs, kinds, strict=True))
        ]
        n_images = int(number.max() or 0) + 1  # type: ignore[operator]
        for start in range(0, n_images, PIECE_IMAGES):
            piece = rows.filter((number >= start) & (number < start + PIECE_IMAGES))
            for output in written:
                output.add(Scored(summed(piece, sums)))
