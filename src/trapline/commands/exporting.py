"""The command that exports: a dispatcher over what it can write."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from trapline.commands.options import ProjectFolder
from trapline.io.console import ConsoleLog

To = Literal["torchscript", "onnx", "torchserve", "timm", "all"]


def export(
    *,
    to: To,
    out: Annotated[Path, Parameter(name=["--out", "-o"])],
    run: str | None = None,
    project: ProjectFolder = Path("."),
) -> None:
    """Write a run's classifier as others deploy it, with the run's own answers: labels, transform, calibration inside.

    Args:
        to: onnx: one file, for ONNX Runtime. torchscript: one file, for torch. torchserve: an archive with a handler.
            timm: a folder that timm opens. all: each of them.
        out: The folder to write.
        run: A run of the project, a run's folder, or a checkpoint's file. Default: the newest finished run.
    """
    from trapline.apps.export_model import export_model

    log = ConsoleLog()
    for path in export_model(run, to, out, project=project, log=log):
        log.note(f"wrote {path}")
