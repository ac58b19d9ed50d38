"""The commands that stand beside the stages."""

from pathlib import Path
from typing import Annotated, Literal, cast

from cyclopts import Parameter
from rich.table import Table

from trapline.commands.options import Flat, ProjectFolder, given, plain
from trapline.core import config
from trapline.io.console import ConsoleLog
from trapline.project import Project


def labels(
    *,
    suggest: Annotated[Path | None, Parameter(help="Write a label map to start from to this file (YAML).")] = None,
    project: ProjectFolder = Path("."),
) -> None:
    """Show what becomes of every label, and why."""
    from trapline.apps import labels as app

    opened = Project(project, ConsoleLog())
    log = opened.log
    assert isinstance(log, ConsoleLog)
    found = app.labels(opened)
    table = Table(
        "label", "images", "boxes", "locations", "sequences", "share", "becomes", "why", box=None, pad_edge=False
    )
    for label, *counts, share, becomes, why in found.iter_rows():
        table.add_row(plain(label), *(f"{n:,}" for n in counts), f"{share:.1%}", plain(becomes or "-"), plain(why))
    log.console.print(table)
    if suggest is not None:
        names = app.write_suggestion(opened, suggest)
        log.note(f"wrote {suggest} with {len(names)} labels; look at it, then:")
        log.note(f"trapline dataset --label-map-file {suggest.resolve()}")


def convert(
    *sources: Path,
    to: Literal["cct", "md", "queried-images", "csv", "camtrap-dp"],
    out: Annotated[Path, Parameter(name=["--out", "-o"])],
    images: Path | None = None,
    locations: Path | None = None,
    utc_offset: str | None = None,
    scientific_names: Path | None = None,
    metadata: Path | None = None,
    overwrite: Annotated[bool, Parameter(negative=())] = False,
    cfg: Annotated[config.IngestConfig | None, Flat] = None,
) -> None:
    """Convert annotations of one format into another; several files of the same images are merged.

    Args:
        sources: Files or folders of any format that trapline reads (docs/formats.md), or one project's folder. A
            corrections.csv among them is applied.
        to: The format to write.
        out: The file to write; for camtrap-dp the folder.
        images: Folder of the full-size images, whose headers tell the sizes that annotations do not state.
        locations: locations.csv with coordinates (dataset,location,latitude,longitude).
        utc_offset: Zone of time stamps that do not state theirs, such as -08:00.
        scientific_names: CSV of label,scientific_name, for camtrap-dp.
        metadata: JSON with fields of camtrap-dp's datapackage.json (title, contributors, project, licenses).
        overwrite: Replace the output if it exists.
    """
    from trapline.apps.convert import convert as run_convert

    run_convert(
        sources,
        to,
        out,
        images=images,
        locations=locations,
        utc_offset=utc_offset,
        scientific_names=scientific_names,
        metadata=metadata,
        overwrite=overwrite,
        cfg=cfg,
        log=ConsoleLog(),
    )


def compare(a: str, b: str, *, project: ProjectFolder = Path(".")) -> None:
    """Say whether one classifier is better than another, at places that neither has seen: paired, with an interval.

    Args:
        a: A run of the project, by its folder's name, or the folder of any evaluated run.
        b: The run it is compared with.
    """
    from trapline.apps.compare import compare as run_compare

    log = ConsoleLog()
    found = run_compare(a, b, root=project, log=log)
    table = Table("figure", "A", "B", "B - A", "95% interval", box=None, pad_edge=False)
    for row in found:
        interval = f"{row.low:+.3f} to {row.high:+.3f}" if row.low is not None and row.high is not None else row.reason
        cells = (f"{value:.3f}" if value is not None else "-" for value in (row.a, row.b))
        difference = f"{row.value:+.3f}" if row.value is not None else "-"
        table.add_row(row.name.replace("_", " "), *cells, difference, plain(interval or ""))
    log.console.print(table)


def runs(*, project: ProjectFolder = Path(".")) -> None:
    """List the project's trainings side by side: how far, how good on val and at unseen places, what differs."""
    from trapline.apps.runs import runs as find_runs
    from trapline.core.quantities import say_time

    opened = Project(project, ConsoleLog())
    found = find_runs(opened.layout.runs)
    if not found:
        opened.log.note("no training was begun yet. Begin one: trapline train")
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("run", no_wrap=True, overflow="fold")
    for title in ("state", "epochs", "time", "val", "test (95%)", "differs"):
        table.add_column(title)
    for row in found:
        epochs = f"{row.epochs if row.epochs is not None else '-'} of {row.planned}"
        figure = f"{row.test:.3f}" if row.test is not None else "-"
        figure += f" ({row.low:.3f} to {row.high:.3f})" if row.low is not None and row.high is not None else ""
        best = f"{row.best_val:.3f}" if row.best_val is not None else "-"
        differs = ", ".join(f"{name}={value}" for name, value in row.differs.items())
        cells = (row.name, row.state, epochs, say_time(row.seconds), best, figure, differs)
        table.add_row(*(plain(cell) for cell in cells))
    log = opened.log
    assert isinstance(log, ConsoleLog)
    log.console.print(table)
    evaluated = [row.name for row in found if row.test is not None]
    if len(evaluated) > 1:
        log.note(f"is the difference real? trapline compare {evaluated[-2]} {evaluated[-1]}")


def estimate_fetch(
    *,
    cfg: Annotated[config.FetchConfig | None, Flat] = None,
    sample: int = 200,
    project: ProjectFolder = Path("."),
) -> None:
    """Say what fetching takes, before anything is fetched: images, bytes, time, disk.

    Args:
        sample: Images that are asked for their size; a few of them are read (and not kept) to time it.
    """
    from trapline.apps.estimate import estimate_fetch as run_estimate

    opened = Project(project, ConsoleLog())
    for line in run_estimate(opened, given(cfg), sample=sample).lines():
        opened.log.note(line)


def estimate_train(
    *, cfg: Annotated[config.TrainConfig | None, Flat] = None, project: ProjectFolder = Path(".")
) -> None:
    """Say what a training takes, before it begins, from a trial of twenty steps: memory, disk, time per epoch."""
    from trapline.apps.estimate_train import estimate_train as run_estimate
    from trapline.apps.estimate_train import lines

    opened = Project(project, ConsoleLog())
    options = given(cfg)
    found = run_estimate(opened, options)
    used = cast(config.TrainConfig, opened.settings("train", options))
    for line in lines(found, used, opened.layout.runs):
        opened.log.note(line)


def learning_curve(
    *,
    plot: Path | None = None,
    divisions: int = 10,
    seed: int = 0,
    project: ProjectFolder = Path("."),
) -> None:
    """Say what more places, or more images of each place, would bring to a classifier, and draw it.

    Probes on frozen features learn from growing shares of both and are judged at places held out. Fine-tuned models
    stand higher; what more data brings them is alike (docs/recipes.md).

    Args:
        plot: The picture: .svg, .png or .pdf. Default: learning_curve.svg in the project.
        divisions: Random divisions of the places into learnt from and held out.
        seed: Fixes them.
    """
    from trapline.apps.learning_curve import learning_curve as run_curve

    opened = Project(project, ConsoleLog())
    path = plot or opened.layout.root / "learning_curve.svg"
    for line in run_curve(opened, path, divisions=divisions, seed=seed).lines():
        opened.log.note(line)
    opened.log.note(f"drawn: {path}")
