"""The classifier to serve: a file that was exported, or a run, exported for the occasion."""

import importlib.util
import tempfile
from pathlib import Path

from trapline.apps.serve.answering import Answering, open_artifact
from trapline.core.log import Log


def open_model(path: Path | None, run: str | None, *, project: Path, log: Log) -> Answering:
    """Open `path`; or export a run into a temporary folder and open that.

    A run is exported to ONNX where `onnx` and `onnxruntime` are installed, to TorchScript where not.

    Args:
        run: See export_model.

    Raises:
        InputError: Neither is there, or it is no classifier.
    """
    if path is not None:
        return open_artifact(path)
    from trapline.apps.export_model import export_model  # it needs torch; an exported file does not

    have = all(importlib.util.find_spec(name) is not None for name in ("onnx", "onnxruntime"))
    to, name = ("onnx", "model.onnx") if have else ("torchscript", "model.pt")
    with tempfile.TemporaryDirectory(prefix="trapline-serve-") as folder:
        export_model(run, to, Path(folder), project=project, log=log)
        return open_artifact(Path(folder) / name)
