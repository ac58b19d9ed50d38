"""Names of files from outside are hostile input: what may become a path below the project, and under which name."""

import re

import polars as pl

RESERVED = {"con", "prn", "aux", "nul", *(f"{name}{n}" for name in ("com", "lpt") for n in range(1, 10))}
# Whatever matches none of these, in any case, is safe (`unsafe_reason` decides about what does):
_DOUBTFUL = (
    r"(?i)^\s*$|^[/\\~]|^[a-z]:|[\x00-\x1f\x7f]|\.\."
    rf"|(^|[/\\])\s*({'|'.join(sorted(RESERVED))})\s*([./\\]|$)"
)
MAX_PART_BYTES = 200  # file systems stop at 255; a crop's suffix and that of a file being written must still fit


def unsafe_reason(path: str) -> str | None:
    """Why `path` must not be used below a project folder, or None when it may.

    Refused on every system, so that a project can move between them: absolute paths, drive letters, `..`, control
    characters, names that Windows reserves, and names too long for a file system.
    """
    if not path.strip():
        return "file name is empty"
    if path.startswith(("/", "\\", "~")) or re.match(r"[A-Za-z]:", path):
        return "file name is an absolute path"
    if any(ord(char) < 32 or ord(char) == 127 for char in path):
        return "file name holds control characters"
    for part in re.split(r"[/\\]", path):
        if part == "..":
            return "file name climbs out of its folder"
        if len(part.encode()) > MAX_PART_BYTES:
            return "file name is too long"
        if part.split(".")[0].strip().casefold() in RESERVED:
            return "file name is reserved by Windows"
    return None


def unsafe_reasons(paths: pl.Series) -> pl.Series:
    """`unsafe_reason` of every path. Only those that could be unsafe are looked at one by one."""
    doubtful = paths.str.contains(_DOUBTFUL) | (paths.str.len_bytes() > MAX_PART_BYTES)
    reasons = {path: unsafe_reason(path) for path in paths.filter(doubtful).unique()}
    found = paths.replace_strict(reasons, default=None, return_dtype=pl.String) if reasons else None
    return pl.Series("unsafe", found if found is not None else [None] * len(paths), dtype=pl.String)
