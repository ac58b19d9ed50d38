"""`trapline doctor`: what this machine can do, before anything is tried."""

from pathlib import Path

from trapline.apps.doctor import gpu, machine, store
from trapline.apps.doctor.finding import Finding
from trapline.core.cores import usable_cores
from trapline.core.errors import InputError
from trapline.learn.cuda import torch_facts
from trapline.learn.hub import reachable
from trapline.project import Project

__all__ = ["Finding", "doctor"]


def doctor(folder: str | Path = ".") -> list[Finding]:
    """Look at everything that a run depends on. Changes nothing; asks a store only where a project has one.

    Args:
        folder: A project's folder, or where one will be.
    """
    root = Path(folder).expanduser().resolve()
    found = [machine.python(), *gpu.diagnose(torch_facts(), gpu.driver()), *machine.cores_and_memory(usable_cores())]
    found += [machine.disk(root), *filter(None, [machine.uv_cache()]), store.profiles()]
    if (root / "trapline.yaml").exists():
        try:
            found += store.stores(Project(root))
        except InputError as error:
            found.append(Finding("project", "fault", str(error), f"mend {root / 'trapline.yaml'}"))
    return [*found, _weights(), *machine.optional_parts()]


def _weights() -> Finding:
    """Whether pretrained weights of other models than the default can be had."""
    if reachable():
        return Finding("weights", "ok", "the default model's are installed; others can be fetched from the hub")
    says = "the default model's are installed; those of other models cannot be fetched: the hub cannot be reached"
    return Finding("weights", "note", says, "trapline train --no-pretrained, for other models without a network")
