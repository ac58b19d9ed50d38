"""The description that goes into every artifact of a run."""

from trapline import __version__
from trapline.apps.predict_images.classifier import Classifier
from trapline.formats.artifact import Artifact, Crops, Scaling


def describe(found: Classifier) -> Artifact:
    """What a run's artifacts say of themselves."""
    known, learnt, crops = found.known, found.calibration, found.crops
    return Artifact(
        labels=known.labels,
        transform=known.transform.as_dict(),
        crops=Crops(crops.style, crops.max_size, crops.quality, crops.truncated, crops.max_pixels),
        multilabel=known.multilabel,
        calibration=Scaling(
            method=learnt.method,
            temperature=float(learnt.temperature),
            scale=tuple(float(value) for value in learnt.scale),
            offset=tuple(float(value) for value in learnt.offset),
            reason=learnt.reason,
        ),
        precision=learnt.precision,
        thresholds={label: learnt.thresholds.get(label) for label in known.labels},
        run=found.run_dir.resolve().name if found.run_dir is not None else found.path.stem,
        model=known.model,
        trained=dict(known.trained),
        made_by=__version__,
    )
