"""`trapline demo`: draw a project, run the whole pipeline on it, and check that only the planted faults failed."""

from pathlib import Path

import polars as pl

from trapline.apps.demo import DATASET, FULL, DemoSize, Planted, draw
from trapline.apps.demo.plan import plan
from trapline.core.config import DatasetSource, ProjectConfig, TrainConfig
from trapline.core.cores import usable_cores
from trapline.core.errors import InputError, TraplineError
from trapline.core.log import Log
from trapline.io import project_file
from trapline.io.layout import Layout
from trapline.project import Project


def demo(directory: str | Path, *, seed: int = 0, size: DemoSize = FULL, log: Log | None = None) -> Project:
    """Draw the demo under `directory` (what is there already is kept) and run every stage.

    Raises:
        InputError: The folder holds something else.
        TraplineError: An image failed that was not planted as broken, or a planted one did not.
    """
    log = log or Log()
    layout = Layout(Path(directory).expanduser().resolve())
    if layout.config.exists() and DATASET not in project_file.read(layout.config).datasets:
        raise InputError(f"{layout.root} holds another project. Choose another folder: trapline demo DIR")
    log.stage("draw", f"{size.n_locations} cameras, in {layout.root}")
    planted = _draw(layout.root, seed, size, log)
    log.note(
        f"{planted.n_images:,} images of {planted.n_cameras} cameras, {planted.n_boxes:,} boxes; planted: "
        f"{len(planted.wrong_labels)} wrong labels, {len(planted.duplicates)} duplicate images, "
        f"{len(planted.broken)} broken files (listed in planted/)"
    )
    if not layout.config.exists():
        source = DatasetSource(annotations=(layout.shorten(planted.annotations),))
        # Five epochs, so that the whole demo takes minutes; the default is for data that deserve more.
        config = ProjectConfig(
            datasets={DATASET: source}, max_failures=len(planted.broken), train=TrainConfig(epochs=5)
        )
        project_file.write_new(layout.config, config)
    project = Project(layout.root, log)
    project.run()
    failed = set(project.table("crops").filter(pl.col("failure").is_not_null())["image_id"])
    expected = {f"{DATASET}/{fault.image_id}" for fault in planted.broken}
    if failed != expected:
        raise TraplineError(
            f"{len(failed)} images failed where {len(expected)} were planted as broken; not planted: "
            f"{sorted(failed - expected) or 'none'}; did not fail: {sorted(expected - failed) or 'none'}."
        )
    return project


def _draw(root: Path, seed: int, size: DemoSize, log: Log) -> Planted:
    """Draw with a progress bar; an image folder of somebody else's is left alone."""
    with log.progress("images drawn", len(plan(size, seed).frames)) as advance:
        shown = 0

        def move(done: int, total: int) -> None:
            nonlocal shown
            del total
            advance(done - shown)
            shown = done

        try:
            return draw(root, seed=seed, size=size, workers=usable_cores(), on_progress=move)
        except FileExistsError as error:
            raise InputError(str(error)) from None
