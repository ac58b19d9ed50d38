"""The command that shows crops to a person."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from trapline.commands.options import ProjectFolder, only_with
from trapline.core.errors import InputError
from trapline.io.console import ConsoleLog
from trapline.project import Project


def review(
    *,
    project: ProjectFolder = Path("."),
    list_: Annotated[Path | None, Parameter(name="--list")] = None,
    images: Path | None = None,
    who: str | None = None,
    port: int = 0,
) -> None:
    """Look at crops on a local page, and decide: accept, relabel, exclude. Decisions go to corrections.csv.

    Args:
        list_: review.csv of `trapline decide`, instead of a project's crops; decisions go to corrections.csv beside it.
        images: With --list: the folder below which its files lie.
        who: Your name, for corrections.csv. Default: the name that this machine knows you by.
        port: Of 127.0.0.1. Default: any free one.
    """
    from trapline.apps.review import app, material

    log = ConsoleLog()
    if list_ is None:
        only_with("--list", {"--images": images})
        found = material.of_project(Project(project, log))
    elif images is None:
        raise InputError("--list needs the folder that its files lie in: --images DIR")
    else:
        found = material.of_list(list_, images)
    app.review(found, who=who, port=port, log=log)
