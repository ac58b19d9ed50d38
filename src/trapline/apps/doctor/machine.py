"""Python, cores, memory, disk, optional parts."""

import os
import platform
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

from trapline.apps.doctor.finding import Finding

LEAST_FREE, SUGGESTED_FREE = 1e9, 5e9  # bytes of disk: below the first a run fails soon
LEAST_MEMORY = 3e9  # an export of a million images takes 1.6 GB, training about as much
OPTIONAL = {  # module -> what it is for, how to get it
    "megadetector": ("boxes by MegaDetector, for images that have labels but no boxes", "uv tool install megadetector"),
    "ipykernel": ("notebooks (notebooks/studio_lab.ipynb)", "uv pip install jupyterlab"),
}


def python() -> Finding:
    """Which Python runs this, and where."""
    return Finding("Python", "ok", f"{platform.python_version()} on {platform.system()} ({sys.executable})")


def cores_and_memory(cores: int) -> list[Finding]:
    """CPU cores this process may use, and memory, a container's limit included."""
    memory = _memory()
    found = [Finding("cores", "ok", f"{cores}")]
    if memory is not None:
        few = memory < LEAST_MEMORY
        remedy = "close other programs, or take a machine with 4 GB or more" if few else ""
        found.append(Finding("memory", "note" if few else "ok", f"{memory / 1e9:.1f} GB", remedy))
    return found


def _memory() -> int | None:
    try:
        whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            whole = min(whole, int(Path(path).read_text()))
        except (OSError, ValueError):
            continue
    return whole


def disk(folder: Path) -> Finding:
    """Free space where a project lies, or will."""
    while not folder.exists():
        folder = folder.parent
    usage = shutil.disk_usage(folder)
    says = f"{usage.free / 1e9:.1f} GB free of {usage.total / 1e9:.1f} GB at {folder}"
    less = "keep crops only: trapline crop --stream; or choose another disk for the project"
    if usage.free < LEAST_FREE:
        return Finding("disk", "fault", f"{says}: a run fails soon", less)
    if usage.free < SUGGESTED_FREE:
        return Finding("disk", "note", says, less)
    return Finding("disk", "ok", says)


def uv_cache() -> Finding | None:
    """Whether uv's cache lies on the disk of this environment; else every package lies on disk twice."""
    told = os.environ.get("UV_CACHE_DIR")
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    cache = Path(told) if told else home / "uv"
    if not cache.is_dir():
        return None
    if cache.stat().st_dev == Path(sys.prefix).stat().st_dev:
        return Finding("uv cache", "ok", f"{cache}, on the same disk as the packages")
    beside = Path(sys.prefix).parent / ".uv-cache"
    says = f"{cache} lies on another disk than {sys.prefix}: packages are copied, not linked, and are there twice"
    return Finding("uv cache", "note", says, f"export UV_CACHE_DIR={beside} && uv cache clean --cache-dir {cache}")


def optional_parts() -> list[Finding]:
    """Packages that some commands and pages use."""
    found = []
    for module, (use, remedy) in OPTIONAL.items():
        there = find_spec(module) is not None or (module == "megadetector" and shutil.which("run_detector_batch"))
        says = f"{module}: {use}" + ("" if there else " (not installed)")
        found.append(Finding("optional", "ok" if there else "note", says, "" if there else remedy))
    return found
