"""trapline export: a run's classifier in the formats that others deploy, each with the run's own answers."""

from collections.abc import Callable
from pathlib import Path

from trapline.apps.export_model.describing import describe
from trapline.apps.predict_images.classifier import Classifier, find
from trapline.core.errors import InputError
from trapline.core.log import Log
from trapline.formats.artifact import Artifact, write_beside

Target = Callable[[Classifier, Artifact, Path], list[Path]]


def _targets() -> dict[str, Target]:
    from trapline.apps.export_model import onnx_file, timm_folder, torchscript, torchserve

    return {
        "torchscript": torchscript.export,
        "onnx": onnx_file.export,
        "torchserve": torchserve.export,
        "timm": timm_folder.export,
    }


def export_model(
    run: str | None, to: str, out: Path, *, project: Path, log: Log, quantize: str | None = None
) -> list[Path]:
    """Export a run's best checkpoint.

    Args:
        run: A run of the project, a run's folder, or a checkpoint's file. Default: the project's newest finished run.
        to: torchscript, onnx, torchserve, timm, or all.
        out: The folder to write.
        quantize: int8 for an ONNX file of 8-bit integers beside the plain one.

    Returns:
        The files that were written.

    Raises:
        InputError: There is no such run, or what the format needs is not installed.
    """
    targets = _targets()
    if to not in (*targets, "all"):
        raise InputError(f"there is no format {to}. Formats: {', '.join(targets)}, all.")
    if quantize is not None and to not in ("onnx", "all"):
        raise InputError(f"--quantize {quantize}: only ONNX files are quantised. Export with --to onnx, or all.")
    found = find(run, project, log)
    artifact = describe(found)
    written: list[Path] = []
    for name in targets if to == "all" else [to]:
        written += targets[name](found, artifact, out)
        if name == "onnx" and quantize is not None:
            from trapline.apps.export_model import quantizing

            written += quantizing.export(found, artifact, written[-1], out, log)
    written += write_beside(out, artifact)
    return list(dict.fromkeys(written))
