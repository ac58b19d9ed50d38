"""A tree of images whose folders name labels: `<label>/...`, `<location>/<label>/...` or the like."""

import os
from collections import Counter
from pathlib import Path

import polars as pl

from trapline.core.errors import InputError
from trapline.formats.annotations import IMAGE_COLUMNS, OBJECT_COLUMNS, Annotations, complete

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".mpo")
PARTS = ("label", "location", "camera", "deployment", "sequence", "*")


def files(root: Path) -> list[str]:
    """Paths of all images below `root`, relative to it with forward slashes, sorted; hidden folders are passed over.

    Raises:
        InputError: `root` is no folder, cannot be read, or holds no image.
    """
    if not root.is_dir():
        raise InputError(f"{root} is not a folder. Check the path.")
    found: list[str] = []

    def refuse(error: OSError) -> None:
        raise InputError(f"{error.filename} cannot be read: {error.strerror}.") from error

    for folder, below, names in os.walk(root, onerror=refuse):
        below[:] = sorted(name for name in below if not name.startswith("."))
        inside = Path(folder).relative_to(root)
        found += [
            (inside / name).as_posix()
            for name in names
            if name.casefold().endswith(IMAGE_SUFFIXES) and not name.startswith(".")
        ]
    if not found:
        raise InputError(f"{root} holds no image ({', '.join(IMAGE_SUFFIXES)}).")
    return sorted(found)


def guess(paths: list[str]) -> str:
    """Whether the outer folders are labels, or places that hold folders of labels.

    Species come again in the folders of several stations, so inner names that stand below more than one outer name
    are labels. Nothing tells `<label>/<location>` from that for certain: whoever has it says so.

    Returns:
        A pattern for `read`: "label" or "location/label".
    """
    pairs = {tuple(parts[:2]) for path in paths if len(parts := path.split("/")[:-1]) >= 2}
    deep = sum(path.count("/") >= 2 for path in paths)
    inner = Counter(name for _, name in pairs)
    return "location/label" if deep >= len(paths) / 2 and any(n > 1 for n in inner.values()) else "label"


def read(root: Path, pattern: str | None = None) -> Annotations:
    """Read a tree of images.

    Args:
        pattern: What the folders name, outermost first, such as "location/label"; `*` for a level that means nothing.
            Default: `guess`.

    Raises:
        InputError: The tree holds no image, the pattern makes no sense, or no image lies deep enough for it.
    """
    paths = files(root)
    levels = (guess(paths) if pattern is None else pattern).strip("/").split("/")
    bad = [level for level in levels if level not in PARTS]
    if bad or levels.count("label") != 1 or any(levels.count(name) > 1 for name in PARTS[1:-1]):
        raise InputError(
            f"--folders {pattern!r} makes no sense: give what each level of folders names, outermost first, out of "
            f"{', '.join(PARTS)}, with `label` once. For example location/label."
        )
    table = pl.DataFrame({"path": paths}).with_columns(parts=pl.col("path").str.split("/"))
    deep = pl.col("parts").list.len() > len(levels)
    rows = table.filter(deep).with_columns(
        pl.col("parts").list.get(n).alias(level) for n, level in enumerate(levels) if level != "*"
    )
    shallow = table.height - rows.height
    if not rows.height:
        raise InputError(
            f"no image of {root} lies {len(levels)} folders deep (first: {paths[0]}). Say what the folders name: "
            "--folders label, --folders location/label, ..."
        )
    images = rows.with_columns(source_id="path", file_name="path")
    objects = rows.select(image="path", source_label="label")
    counts = ", ".join(f"{rows[level].n_unique():,} {level}s" for level in levels if level != "*")
    names = rows["label"].value_counts(sort=True)["label"].head(5).to_list()
    notes = [
        f"folders were read as {'/'.join(levels)}: {counts} (labels {', '.join(names)}"
        f"{', ...' if rows['label'].n_unique() > 5 else ''}). If that is wrong, say --folders, such as location/label."
    ]
    if shallow:
        first = table.filter(~deep)["path"][0]
        notes.append(f"{shallow} images lie in no such folder and are left out (first: {first}).")
    return Annotations(complete(images, IMAGE_COLUMNS), complete(objects, OBJECT_COLUMNS), notes=tuple(notes))
