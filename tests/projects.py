"""Small projects for tests: the demo's generator, at its small size, and a model that trains in seconds."""

from pathlib import Path

from trapline.apps.demo import DATASET, SMALL, Planted, draw
from trapline.core.config import DatasetSource, ProjectConfig, TrainConfig
from trapline.io import project_file

# A timm model made for tests: 0.4 million parameters.
QUICK = TrainConfig(model="test_efficientnet", pretrained=False, image_size=48, epochs=2, batch_size=16, lr=3e-3)


def draw_small(folder: Path) -> Planted:
    """Draw the small demo data below `folder`."""
    return draw(folder, size=SMALL, seed=0, workers=1)


def write_project(root: Path, planted: Planted, **changes: object) -> Path:
    """A project over drawn data that lies elsewhere; `changes` replace whole sections."""
    source = DatasetSource(annotations=(str(planted.annotations),), images=str(planted.images))
    sections = {"train": QUICK, "max_failures": len(planted.broken), **changes}
    root.mkdir(parents=True, exist_ok=True)
    project_file.write_new(
        root / "trapline.yaml", ProjectConfig.model_validate({"datasets": {DATASET: source}, **sections})
    )
    return root
