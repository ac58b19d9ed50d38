"""Names of files from outside are hostile input: what may become a path below the project, and under which name."""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

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


def distinct_names(names: Sequence[str]) -> list[str]:
    """Names that stay apart on every disk: those that differ only in case or accents' spelling, or of which one is
    the other's folder, get a mark made of their own exact spelling. All others stay as they are.

    Whether a name gets its mark depends on the others, the mark itself does not.
    """
    folded = [_folded(name) for name in names]
    taken = Counter(folded)
    folders = {name[:end] for name in set(folded) for end in _ends(name)}
    return [
        _marked(name) if taken[key] > 1 or key in folders or any(key[:end] in taken for end in _ends(key)) else name
        for name, key in zip(names, folded, strict=True)
    ]


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _ends(name: str) -> list[int]:
    """Where the folders of a name end."""
    return [n for n, char in enumerate(name) if char == "/"]


def _marked(name: str) -> str:
    folder, slash, last = name.rpartition("/")
    stem, dot, suffix = last.rpartition(".")
    mark = hashlib.blake2b(name.encode(), digest_size=4).hexdigest()
    return f"{folder}{slash}{stem}~{mark}.{suffix}" if dot else f"{folder}{slash}{last}~{mark}"
