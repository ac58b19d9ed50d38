"""The TorchScript file: one graph, and the description beside it as a file inside."""

from pathlib import Path

from trapline.apps.predict_images.classifier import Classifier
from trapline.formats.artifact import FILE, Artifact

NAME = "model.pt"


def export(found: Classifier, artifact: Artifact, folder: Path) -> list[Path]:
    """Write model.pt."""
    from trapline.learn.exported import write_torchscript

    write_torchscript(folder / NAME, found.known, found.calibration, {FILE: artifact.to_json()})
    return [folder / NAME]
