"""The command that decides on a finished prediction."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from trapline.commands.options import Flat, ProjectFolder
from trapline.core import config
from trapline.core.errors import InputError
from trapline.io.console import ConsoleLog


def decide(
    predictions: Path,
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
        predictions: The table of boxes that `trapline predict --images` wrote (Parquet).
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

    folder = project / "runs" / run
    if not folder.is_dir():
        folder = Path(run)
    if not folder.is_dir():
        there = sorted(path.parent.name for path in (project / "runs").glob("*/params.json"))
        raise InputError(f"there is no run {run}. Runs of this project: {', '.join(there) or 'none'}.")
    log = ConsoleLog()
    decide_predictions(
        predictions, folder, out, cfg or config.DecideConfig(), taxonomy=taxonomy, allowed=allowed,
        locations=locations, images_table=images_table, deployments=deployments, log=log,
    )  # fmt: skip
    log.note(f"wrote {out}: answers, sequences, review, counts (and a figure), detection_history, effort")
