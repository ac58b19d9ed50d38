"""The command that exports: a dispatcher over what it can write."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from trapline.commands.options import ProjectFolder, only_with
from trapline.io.console import ConsoleLog
from trapline.project import Project

To = Literal["torchscript", "onnx", "torchserve", "timm", "all", "fiftyone"]


def export(
    *,
    to: To,
    out: Annotated[Path, Parameter(name=["--out", "-o"])],
    run: str | None = None,
    quantize: Literal["int8"] | None = None,
    overwrite: Annotated[bool, Parameter(negative=())] = False,
    project: ProjectFolder = Path("."),
) -> None:
    """Write a run's classifier as others deploy it, with the run's own answers: labels, transform, calibration inside.

    Or with --to fiftyone what the project knows of its crops, as a dataset to look at.

    Args:
        to: onnx: one file, for ONNX Runtime. torchscript: one file, for torch. torchserve: an archive with a handler.
            timm: a folder that timm opens. all: each of them. fiftyone: every crop with its label, split, place and
            issues, as a dataset to import.
        out: The folder to write.
        run: A run of the project, a run's folder, or a checkpoint's file. Default: the newest finished run.
        quantize: With onnx: also model.int8.onnx, of 8-bit integers: a third of the size, and faster. What it costs is
            measured on the run's val and test crops, and said.
        overwrite: With fiftyone: replace what an earlier export left there.
    """
    if to == "fiftyone":
        only_with("a classifier (onnx, torchscript, torchserve, timm, all)", {"--run": run, "--quantize": quantize})
        from trapline.apps.export import export as export_crops

        export_crops(Project(project, ConsoleLog()), to, out, overwrite=overwrite)
        return
    only_with("--to fiftyone", {"--overwrite": overwrite or None})
    from trapline.apps.export_model import export_model

    log = ConsoleLog()
    for path in export_model(run, to, out, project=project, log=log, quantize=quantize):
        log.note(f"wrote {path}")
