"""The folder that timm opens. Its network gives logits; the description beside it has the calibration."""

from pathlib import Path

from trapline.apps.predict_images.classifier import Classifier
from trapline.formats.artifact import Artifact, write_beside

NAME = "timm"


def export(found: Classifier, artifact: Artifact, folder: Path) -> list[Path]:
    """Write timm/: config.json, model.safetensors, trapline.json, index_to_name.json."""
    from trapline.learn.exported import write_timm

    return [*write_timm(folder / NAME, found.known, {}), *write_beside(folder / NAME, artifact)]
