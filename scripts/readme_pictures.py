"""The pictures of the README, from a demo: `uv run python scripts/readme_pictures.py trapline-demo`.

docs/demo/frames.jpg (drawn frames, day and infrared), crops.jpg (a row of crops per label) and split.svg.
"""

import sys
from pathlib import Path

import polars as pl
from PIL import Image

from trapline.project import Project
from trapline.report import split_figure

TARGET = Path(__file__).parents[1] / "docs" / "demo"
FRAMES, FRAME = (4, 2), (240, 180)
CROPS, CROP = 10, 72


def main(demo: Path) -> None:
    project = Project(demo)
    images, crops, examples = (project.table(name) for name in ("images", "crops", "examples"))
    TARGET.mkdir(parents=True, exist_ok=True)
    named = images.select("image_id", "dataset", "file_name")
    good = crops.drop_nulls("path").join(named, on="image_id").unique("image_id").sort("image_id")
    by_light = [good.filter(infrared=night).sample(4, seed=1) for night in (False, True)]
    names = [row for frame in by_light for row in frame.select("dataset", "file_name").rows()]
    sheet([project.layout.images(dataset, None) / name for dataset, name in names], FRAMES[0], FRAME, "frames.jpg")
    labels = examples.explode("labels")["labels"].value_counts(sort=True)["labels"].to_list()
    chosen = []
    for label in labels:
        of_label = examples.filter(pl.col("labels").list.contains(label))
        chosen += of_label.unique("group_id", maintain_order=True)["crop_id"].head(CROPS).to_list()
    sheet([project.layout.crops / crop_id for crop_id in chosen], CROPS, (CROP, CROP), "crops.jpg")
    shares = split_figure.shares(examples, project.table("splits"))
    split_figure.draw(shares, (0.6, 0.2, 0.2), TARGET / "split.svg")
    print(f"rows of crops.jpg, from the top: {', '.join(labels)}")
    if project.layout.table("metrics").exists():
        found = project.table("metrics").filter(label="", group_kind="", name="macro_recall")
        print(found.select("split", "value", "low", "high"))


def sheet(paths: list[Path], columns: int, size: tuple[int, int], name: str) -> None:
    """Put pictures side by side, each fitted into `size`."""
    rows = -(-len(paths) // columns)
    whole = Image.new("RGB", (columns * size[0], rows * size[1]), "white")
    for n, path in enumerate(paths):
        with Image.open(path) as image:
            whole.paste(image.convert("RGB").resize(size), (n % columns * size[0], n // columns * size[1]))
    whole.save(TARGET / name, quality=80, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
