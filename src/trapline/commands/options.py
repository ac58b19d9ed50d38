"""What the commands share: options that many take, and the end of many."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

from trapline.core import config
from trapline.core.errors import InputError
from trapline.engine.choice import EngineName
from trapline.io.console import ConsoleLog
from trapline.project import Project

Save = Annotated[bool, Parameter(negative=(), help="Write these options into trapline.yaml.")]
Flag = Parameter(negative=())
Flat = Parameter(name="*")
ProjectFolder = Annotated[Path, Parameter(name=["--project", "-p"], help="The project's folder.")]
MaxFailures = Annotated[
    int | None, Parameter(help="Images that may fail before the exit code is 3. Default: from trapline.yaml.")
]


@dataclass(frozen=True)
class EngineOptions:
    """Where the work runs.

    Args:
        engine: This machine, or a Ray cluster.
        address: HOST:PORT of the cluster's head. Default: RAY_ADDRESS, or the cluster that this machine belongs
            to; where there is none, one is started on this machine.
    """

    engine: EngineName = "local"
    address: str | None = None


@dataclass(frozen=True)
class TrainingOptions(EngineOptions):
    """Where the work runs, and how many train.

    Args:
        workers: With engine ray: processes that train together, each on its share of every batch.
        gpus_per_worker: With engine ray: GPUs of each.
    """

    workers: Annotated[int, Parameter(validator=validators.Number(gte=1))] = 1
    gpus_per_worker: Annotated[float, Parameter(validator=validators.Number(gte=0))] = 0


Where = Annotated[EngineOptions | None, Flat]


def open_project(project: Path, where: EngineOptions | None = None) -> Project:
    """The project, to work in it where the options say."""
    return Project(project, ConsoleLog(), **asdict(where or EngineOptions()))


def show_report(project: Project) -> None:
    """Print where the report lies, if there is one that is up to date."""
    last = project.status()[-1]
    if last.stage == "evaluate" and last.state == "up to date" and last.record:
        project.log.note(f"report: {project.layout.root / str(last.record.facts['report'])}")


def given(cfg: config.Section | None) -> dict[str, object]:
    """The options of a call, by name."""
    return {name: getattr(cfg, name) for name in cfg.model_fields_set} if cfg is not None else {}


def only_with(other: str, options: Mapping[str, object]) -> None:
    """Raise where options are given that mean nothing without another one."""
    if named := [name for name, value in options.items() if value is not None]:
        raise InputError(f"{', '.join(named)}: only together with {other}.")


def plain(text: str) -> str:
    """Text for a table of rich's: brackets in it are brackets."""
    from rich.markup import escape

    return escape(text)
