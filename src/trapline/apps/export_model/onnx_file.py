"""The ONNX file: one graph, and the description in its metadata."""

from pathlib import Path

from trapline.apps.predict_images.classifier import Classifier
from trapline.core.errors import InputError
from trapline.formats.artifact import INPUT, KEY, OUTPUT, Artifact
from trapline.io import atomic

NAME = "model.onnx"
NEEDED = "exporting to ONNX needs the package onnx. Run `pip install onnx`, or choose another --to."


def export(found: Classifier, artifact: Artifact, folder: Path) -> list[Path]:
    """Write model.onnx."""
    require_onnx()
    from trapline.learn.exported import onnx_bytes

    path = folder / NAME
    data = with_description(onnx_bytes(found.known, found.calibration, (INPUT, OUTPUT)), artifact)
    atomic.replace(path, lambda stream: stream.write(data))
    return [path]


def require_onnx() -> None:
    """Raise InputError where the package is not there."""
    try:
        import onnx  # noqa: F401 (torch's exporter needs it too)
    except ImportError:
        raise InputError(NEEDED) from None


def with_description(data: bytes, artifact: Artifact) -> bytes:
    """An ONNX file's bytes with the artifact's description in place of any that it had."""
    import onnx

    model = onnx.load_model_from_string(data)
    del model.metadata_props[:]
    for key, value in ((KEY, artifact.to_json()), ("labels", "\n".join(artifact.labels))):
        model.metadata_props.add(key=key, value=value)
    return model.SerializeToString()
