"""What torch sees of NVIDIA's GPUs here, as facts for `trapline doctor`. Starts no computation."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TorchFacts:
    """How torch was built, and what it sees.

    Args:
        version: torch's own.
        cuda: The CUDA version it was built for, as "13.0"; None for a build that knows no NVIDIA GPU.
        available: Whether it can use a GPU now.
        archs: Compute capabilities it holds code for ("sm_75").
        gpus: Name, compute capability ("sm_75"), bytes of memory in all and free, of each GPU it sees.
        mps: Whether it can use Apple's GPU.
        problem: Why it cannot be loaded at all, or None.
    """

    version: str = ""
    cuda: str | None = None
    available: bool = False
    archs: tuple[str, ...] = ()
    gpus: tuple[tuple[str, str, int, int], ...] = ()
    mps: bool = False
    problem: str | None = None


def torch_facts() -> TorchFacts:
    """Load torch and look; a torch that cannot be loaded is a fact too."""
    try:
        import torch
    except (ImportError, OSError) as error:
        return TorchFacts(problem=f"{type(error).__name__}: {error}".splitlines()[0])
    available = torch.cuda.is_available()
    gpus = []
    for number in range(torch.cuda.device_count() if available else 0):
        facts = torch.cuda.get_device_properties(number)
        free, whole = torch.cuda.mem_get_info(number)
        gpus.append((facts.name, f"sm_{facts.major}{facts.minor}", whole, free))
    return TorchFacts(
        str(torch.__version__),
        torch.version.cuda,
        available,
        tuple(torch.cuda.get_arch_list()) or _built_for(),
        tuple(gpus),
        torch.backends.mps.is_available(),
    )


def _built_for() -> tuple[str, ...]:
    """The capabilities of the build, also where no GPU can be used."""
    import torch

    flags = torch._C._cuda_getArchFlags() if hasattr(torch._C, "_cuda_getArchFlags") else None
    return tuple(flags.split()) if flags else ()
