"""One step per stage: read its tables, call it, write what it returns. The only glue between stages and disk."""

from trapline.steps import data, learning
from trapline.steps.data import label_rules_of
from trapline.steps.inspecting import inspect
from trapline.steps.learning import is_beside, let_others_go, run_fingerprint, train_beside
from trapline.steps.step import Context, Made, Step

__all__ = [
    "STEPS",
    "Context",
    "Made",
    "Step",
    "inspect",
    "is_beside",
    "label_rules_of",
    "let_others_go",
    "run_fingerprint",
    "train_beside",
]

STEPS = {
    "ingest": Step((), data.ingest, data.annotation_digests),
    "fetch": Step(("images",), data.fetch, data.files_stamp),
    "crop": Step(("images", "files", "boxes"), data.crop, data.storage_stamp),
    "dataset": Step(("images", "crops", "boxes", "labels", "locations"), data.dataset, data.dataset_digests),
    "split": Step(("examples", "crops"), data.split, data.former_split_digest),
    "embed": Step(("examples", "crops"), learning.embed),
    "train": Step(("examples", "splits", "crops"), learning.train, learning.weights_digest),
    "predict": Step(("run", "examples", "crops"), learning.predict),
    "evaluate": Step(("predictions", "examples", "splits"), learning.evaluate, learning.taxonomy_digest),
}
