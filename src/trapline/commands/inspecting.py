"""`trapline inspect`: what a person should look at."""

from pathlib import Path

import polars as pl
from rich.table import Table

from trapline.commands.options import MaxFailures, ProjectFolder, plain
from trapline.core.errors import TooManyFailures
from trapline.core.issues.labels import MARGIN
from trapline.io.console import ConsoleLog
from trapline.project import Project


def inspect(*, margin: float = MARGIN, project: ProjectFolder = Path("."), max_failures: MaxFailures = None) -> None:
    """Find what a person should look at: wrong labels, near-duplicates, poor crops, impossible times, uneven splits.

    Everything found is in tables/issues.parquet: crop_id, kind, evidence, score (1 is most worth a look). inspect.html
    shows it, with samples of every label, to colleagues without trapline.

    Args:
        margin: List held-out crops to which the last run's classifier gives another label with a probability that
            exceeds the given label's by so much.
    """
    log = ConsoleLog()
    opened = Project(project, log)
    failures = None
    try:
        found = opened.inspect(margin=margin, max_failures=max_failures)
    except TooManyFailures as error:
        failures, found = error, opened.table("issues")
    table = Table("kind", "crops", "the worst", "why", box=None, pad_edge=False)
    kinds = found.group_by("kind", maintain_order=True).agg(pl.len(), pl.first("crop_id", "evidence"))
    for kind, n, crop_id, evidence in kinds.iter_rows():
        table.add_row(plain(kind), f"{n:,}", plain(crop_id), plain(evidence))
    log.console.print(table if found.height else "nothing found")
    log.note(f"all {found.height:,} are in {opened.layout.table('issues')}")
    log.note(f"to look at, and to send on: {opened.layout.inspect_page}")
    if failures is not None:
        raise failures
