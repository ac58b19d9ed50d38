"""On which machine, and with which code, something was made."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def machine() -> str:
    """As in "Linux x86_64, 2 CPU cores, 24 GB, Python 3.11.2"; names no host and no user."""
    cores = os.cpu_count() or 1
    parts = [f"{platform.system()} {platform.machine()}", f"{cores} CPU core{'s' if cores > 1 else ''}"]
    if memory := _memory_bytes():
        parts.append(f"{memory / 1e9:.0f} GB")
    return ", ".join([*parts, f"Python {platform.python_version()}"])


def code() -> str:
    """trapline's version and, run from a checkout, its git commit: "0.1.0, git 0123456789ab (changed)"."""
    commit = _commit(PACKAGE)
    return f"{version('trapline')}, git {commit}" if commit else version("trapline")


def _commit(folder: Path) -> str:
    """The commit that a folder of tracked files is at, and whether they were changed since; nothing where git or a
    repository of its own is missing (a package that is installed inside another repository is not tracked by it)."""
    if _git(folder, "ls-files", "--error-unmatch", "__init__.py") is None:
        return ""
    commit = _git(folder, "rev-parse", "--short=12", "HEAD")
    if not commit:
        return ""
    return commit + (" (changed)" if _git(folder, "status", "--porcelain", "--untracked-files=no", ".") else "")


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        found = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() if found.returncode == 0 else None


def _memory_bytes() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 0
