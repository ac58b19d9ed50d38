"""Figures as files: the endings they can have, and the same bytes for the same figure."""

from pathlib import Path
from typing import TYPE_CHECKING

from trapline.core.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = (".svg", ".png", ".pdf")
DATELESS = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}


def check(path: Path) -> None:
    """Raise unless the path ends as a figure's does.

    Raises:
        InputError: It does not.
    """
    if path.suffix.casefold() not in FORMATS:
        raise InputError(f"{path.name}: a figure is written as {', '.join(FORMATS)}.")


def save(figure: "Figure", path: Path) -> None:
    """Write a figure as its path's ending says, without the date; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130, metadata=DATELESS.get(path.suffix.casefold(), {}))
