"""The command that decides on a finished prediction."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from trapline.commands.options import Flat, ProjectFolder
from trapline.core import config, schemas
from trapline.io import tables
from trapline.io.console import ConsoleLog
from trapline.io.layout import Layout
from trapline.io.runs import named_run
from trapline.project import Project


def decide(
    predictions: Path | None = None,
    *,
    run: str,
    out: Annotated[Path, Parameter(name=["--out", "-o"])],
    taxonomy: Path | None = None,
    allowed: Path | None = None,
    locations: Path | None = None,
    images_table: Path | None = None,
    deployments: Path | None = None,
    cfg: Annotated[config.DecideConfig | None, Flat] = None,
    project: ProjectFolder = Path("."),
) -> None:
    """Turn scores of boxes into answers, bursts, a review list, counts and detection histories.

    Nothing is scored again: other choices take seconds.

    Args:
        predictions: A table of scored boxes (Parquet, docs/decisions.md). Default: the project's own boxes, as
            `trapline predict` scored them.
        run: The run that scored them: its folder, or its name in the project.
        out: The folder of what is written.
        taxonomy: CSV of label and taxonomic levels (label,genus,family): where a species is not sure enough, the lowest
            taxon that is.
        allowed: CSV of the labels that can be true (label), perhaps by place (label,location or label,region).
        locations: With allowed: CSV of location,region.
        images_table: CSV of path and any of location, datetime, sequence, for images whose place or time is not known.
        deployments: CSV of location,start,end: when cameras ran (Camtrap DP's deployments.csv is one).
    """
    from trapline.apps.decide import decide_predictions

    folder = named_run(run, Layout(project).runs)
    log = ConsoleLog()
    if predictions is None:
        from trapline.apps.decide import labels_of
        from trapline.apps.project_scores import project_scores

        opened = Project(project, log)
        predictions = out / "scores.parquet"
        found = project_scores(opened, folder.name, labels_of(folder), log)
        tables.write(predictions, found, schemas.DETECTION_SCORES)
    decide_predictions(
        predictions, folder, out, cfg or config.DecideConfig(), taxonomy=taxonomy, allowed=allowed,
        locations=locations, images_table=images_table, deployments=deployments, log=log,
    )  # fmt: skip
    log.note(f"wrote {out}: answers, sequences, review, counts (and a figure), detection_history, effort")
