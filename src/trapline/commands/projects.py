"""The commands that make a project, run it, and say how it stands."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.table import Table

from trapline.commands.options import MaxFailures, ProjectFolder, Where, open_project, plain, show_report
from trapline.core.errors import InputError, TraplineError
from trapline.io.console import ConsoleLog
from trapline.project import Project, StageStatus


def init(
    directory: Path,
    *,
    annotations: Annotated[list[Path] | None, Parameter(consume_multiple=True)] = None,
    images: str | None = None,
    dataset: str | None = None,
    dataset_csv: Path | None = None,
    folders: str | None = None,
    ready_made: Annotated[bool, Parameter(negative=())] = False,
    from_old: Path | None = None,
) -> None:
    """Make a project from an export and a folder of images, or add a dataset to one.

    Args:
        directory: The project's folder; made if it does not exist.
        annotations: One or more files or folders of any format that trapline reads (docs/formats.md), copied into the
            project. Without any, the folders that images lie in name their labels.
        images: Folder that the export's file names are relative to (the images stay where they are), or the URL that
            their keys are below: s3://bucket/prefix, gs://, az://, https:// (fetched by `trapline fetch`).
        dataset: A name for these images. Default: the folder's name.
        dataset_csv: An old classification_ds.csv instead of exports; `images` is then the folder of its crops.
        folders: Without annotations: what the folders name, outermost first, such as location/label.
        ready_made: The pictures are crops already; they are taken whole.
        from_old: Instead of all that: the folder of a project of the old chain (with mdcache, images, crops and a
            BASE_LOGDIR below it). Goes on from the furthest step that is complete (docs/from-the-old-chain.md).
    """
    log = ConsoleLog()
    if from_old is not None:
        if annotations or images or dataset or dataset_csv or folders or ready_made:
            raise InputError("--from-old finds annotations, images and crops itself: give it alone.")
        from trapline.apps.from_old import from_old as move_in

        project = move_in(directory, from_old, log=log)
    else:
        from trapline.apps.init import init as make

        project = make(
            directory,
            annotations or (),
            images,
            dataset,
            dataset_csv=dataset_csv,
            folder_names=folders,
            ready_made=ready_made,
            log=log,
        )
    log.note(f"wrote {project.layout.config}")
    log.note(f"next: trapline run --project {directory}")


def run(
    *,
    until: str | None = None,
    from_: Annotated[str | None, Parameter(name="--from")] = None,
    retrain: Annotated[bool, Parameter(negative=())] = False,
    max_failures: MaxFailures = None,
    where: Where = None,
    project: ProjectFolder = Path("."),
) -> None:
    """Bring the whole project up to date: ingest, fetch, crop, dataset, split, train, predict, evaluate.

    Args:
        until: Last stage to make.
        from_: First stage to look at; earlier ones are taken as they are.
        retrain: Train again where the run no longer matches its inputs.
    """
    opened = open_project(project, where)
    try:
        opened.run(until, from_, retrain=retrain, max_failures=max_failures)
    finally:
        show_report(opened)


def status(*, project: ProjectFolder = Path(".")) -> None:
    """Say what is up to date and why not."""
    opened = Project(project, ConsoleLog())
    log = opened.log
    assert isinstance(log, ConsoleLog)
    found = opened.status()
    log.console.print(_status_table(found))
    for stage in found:
        for warning in stage.record.warnings if stage.record else ():
            log.console.print(f"  {stage.stage}: {warning}", markup=False)


def _status_table(stages: list[StageStatus]) -> Table:
    table = Table("stage", "state", "rows", "seconds", "made (UTC)", box=None, pad_edge=False)
    for stage in stages:
        state = stage.state + (f": {'; '.join(stage.reasons)}" if stage.reasons else "")
        if stage.made_with:
            state += f" (made with {', '.join(f'{name}={value}' for name, value in stage.made_with.items())})"
        record = stage.record
        rows = "\n".join(record.accounts) if record else ""
        seconds = f"{record.seconds:,.1f}" if record else ""
        made = record.made_at.replace("T", " ")[:16] if record else ""
        table.add_row(*(plain(text) for text in (stage.stage, state, rows, seconds, made)))
    return table


def doctor(
    *,
    json: Annotated[bool, Parameter(negative=(), help="Print the findings as JSON.")] = False,
    project: ProjectFolder = Path("."),
) -> None:
    """Say what this machine can do, and what stands in the way; exit code 1 where something does."""
    from dataclasses import asdict

    import msgspec

    from trapline.apps.doctor import doctor as look

    found = look(project)
    faults = [finding for finding in found if finding.state == "fault"]
    log = ConsoleLog()
    if json:
        content = {"fit": not faults, "findings": [asdict(finding) for finding in found]}
        log.console.print(msgspec.json.format(msgspec.json.encode(content)).decode(), markup=False)
    else:
        for finding in found:
            log.console.print(f"{finding.state:6}{finding.check:14}{finding.says}", markup=False)
            if finding.remedy:
                log.console.print(f"{'':20}-> {finding.remedy}", markup=False)
    if faults:
        names = ", ".join(sorted({finding.check for finding in faults}))
        raise TraplineError(f"{len(faults)} of {len(found)} findings stand in the way: {names}.")


def demo(directory: Path = Path("trapline-demo"), *, seed: int = 0) -> None:
    """Draw a camera-trap project (no download) and run the whole pipeline on it.

    Args:
        directory: Where; drawn again only where something is missing.
        seed: Fixes every picture.
    """
    from trapline.apps.demo.app import demo as make

    show_report(make(directory, seed=seed, log=ConsoleLog()))
