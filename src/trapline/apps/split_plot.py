"""`trapline split --plot FILE`: the project's split as a picture."""

from pathlib import Path

from trapline.project import Project
from trapline.report import split_figure


def plot(project: Project, path: Path) -> list[str]:
    """Draw each label's share per split beside what was wished.

    Returns:
        The labels that are marked as furthest from what was wished.

    Raises:
        TraplineError: There is no split yet.
        InputError: Not a file ending that a figure can have.
    """
    status = next(status for status in project.status() if status.stage == "split")
    made = {**project.config.split.model_dump(), **status.made_with}
    folds = int(str(made["folds"]))
    val, test = (1 / folds,) * 2 if folds else (float(str(made["val_frac"])), float(str(made["test_frac"])))
    table = split_figure.shares(project.table("examples"), project.table("splits"))
    return split_figure.draw(table, (1 - val - test, val, test), path)
