"""Paths of a detector's file brought to the folder that the annotations' paths are relative to."""

from collections import Counter

import polars as pl


def align(paths: pl.Series, known: pl.Series) -> tuple[pl.Series, str]:
    """Shift paths by the one leading folder that makes them known.

    A detector is often run on a folder above or below the one that annotations are relative to: all its paths then
    lack the same beginning, or have it too many. Nothing is shifted where some paths are known as they are.

    Args:
        paths: The detector's file names.
        known: File names of the same images in annotations.

    Returns:
        (paths, what was done in words or ""). Paths stay as they are where no one shift fits.
    """
    known = known.unique()
    if not paths.len() or not known.len() or paths.is_in(known.implode()).any():
        return paths, ""
    frame = pl.DataFrame({"path": paths.unique()}).with_columns(name=pl.col("path").str.split("/").list.last())
    theirs = pl.DataFrame({"known": known}).with_columns(name=pl.col("known").str.split("/").list.last())
    once = [table.filter(pl.len().over("name") == 1) for table in (frame, theirs)]
    shifts: Counter[tuple[str, str]] = Counter()
    for path, other in once[0].join(once[1], on="name").select("path", "known").head(100_000).iter_rows():
        if other.endswith(f"/{path}"):
            shifts["add", other[: -len(path)]] += 1
        elif path.endswith(f"/{other}"):
            shifts["cut", path[: -len(other)]] += 1
    if not shifts:
        return paths, ""
    (how, folder), _ = shifts.most_common(1)[0]
    if how == "add":
        moved, words = pl.concat_str(pl.lit(folder), pl.col("path")), f"{folder} was put before its paths"
    else:
        moved, words = pl.col("path").str.strip_prefix(folder), f"{folder} was cut off its paths"
    return pl.DataFrame({"path": paths}).select(moved.alias(paths.name)).to_series(), words
