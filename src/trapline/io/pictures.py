"""Pictures below a folder."""

import os
from collections.abc import Iterator
from pathlib import Path

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif")


def is_picture(name: str) -> bool:
    """Whether a name ends as a picture's does."""
    return name.casefold().endswith(ENDINGS)


def pictures(folder: Path) -> Iterator[str]:
    """Names of the pictures in a folder and below, relative to it, in no order; hidden files are none."""
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        below = os.path.relpath(place, folder).replace(os.sep, "/")
        for name in files:
            if is_picture(name) and not name.startswith("."):
                yield name if below == "." else f"{below}/{name}"
