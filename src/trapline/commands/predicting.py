"""New images: the command that detects, and what `trapline predict` does with them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from trapline.commands.options import EngineOptions
from trapline.core import config
from trapline.core.errors import InputError, TooManyFailures
from trapline.core.new_images import NewImagesConfig
from trapline.core.urls import is_url
from trapline.engine.choice import engine_of
from trapline.io.console import ConsoleLog
from trapline.project import Project


def predict_new(
    images: str | None,
    crops: Path | None,
    out: Sequence[Path],
    cfg: config.PredictConfig,
    new: NewImagesConfig,
    *,
    detections: Path | None,
    to: Sequence[str],
    label_mapping: Path | None,
    images_table: Path | None,
    locations: Path | None,
    utc_offset: str | None,
    decide: Path | None,
    where: EngineOptions | None,
    project: Path,
    max_failures: int,
) -> None:
    """Classify new images, and say what was written."""
    if images is not None and crops is not None:
        raise InputError("--images are whole images and --crops are crops already: give one of them.")
    if crops is not None and detections is not None:
        raise InputError("--detections are boxes of whole images (--images); crops have none.")
    from trapline.apps.predict_images import Package, predict_images

    log = ConsoleLog()
    where = where or EngineOptions()
    given = images if images is not None else str(crops)
    folder = None if is_url(given) else Path(given)
    found = predict_images(
        given, out, new, cfg, detections=detections, crops=crops is not None,
        to=to, label_mapping=label_mapping, images_table=images_table, package=Package(locations, utc_offset),
        decide=decide, project=project, log=log,
        engine=engine_of(where.engine, where.address, folder=folder),
    )  # fmt: skip
    for path in found.outputs:
        log.note(f"wrote {path}")
    if found.failed > max_failures:
        raise TooManyFailures(
            f"done, but {found.failed:,} of {found.images:,} images could not be read; each is in the outputs with its "
            f"failure. Allow them: --max-failures {found.failed}."
        )


def export(
    out: Sequence[Path],
    *,
    to: Sequence[str],
    label_mapping: Path | None,
    locations: Path | None,
    utc_offset: str | None,
    project: Path,
) -> None:
    """Write the project's own predictions, and say so."""
    from trapline.apps.predict_images import Package
    from trapline.apps.predict_images.of_project import export_project

    log = ConsoleLog()
    export_project(
        Project(project, log), out, to=to, label_mapping=label_mapping, package=Package(locations, utc_offset), log=log
    )
    for path in out:
        log.note(f"wrote {path}")


def detect(
    *,
    images: Path,
    out: Annotated[Path, Parameter(name=["--out", "-o"])],
    model: str = "MDV5A",
    threshold: float | None = None,
    python: Path | None = None,
) -> None:
    """Run the MegaDetector that you installed over a folder of images; its file is what `trapline predict` takes.

    Args:
        images: The folder; pictures below it too.
        out: The results file to write (JSON).
        model: A detector's file, or a name that MegaDetector downloads.
        threshold: Least confidence that is kept. Default: MegaDetector's own.
        python: The Python of the environment that MegaDetector is installed in. Default: trapline's own.
    """
    from trapline.apps.detect import detect as run_detector

    run_detector(images, out, model=model, threshold=threshold, python=python, log=ConsoleLog())
