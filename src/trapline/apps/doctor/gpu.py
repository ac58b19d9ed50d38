"""Why a GPU is used, or is not: torch's build, the driver, and what lies between them."""

import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from trapline.apps.doctor.finding import Finding
from trapline.learn.cuda import TorchFacts

# The least driver for each major version of CUDA, and the newest build of torch that it runs: NVIDIA's table of minor
# version compatibility (CUDA compatibility guide) and torch's own builds.
LEAST_DRIVER = {13: 580, 12: 525, 11: 450}
BUILDS = ((580, "cu130"), (570, "cu128"), (525, "cu126"))
NEWER_DRIVER = "sudo apt-get install nvidia-driver-580 && sudo reboot"
SUGGESTED_GB = 4  # of GPU memory for the default model at its batch size, with room


@dataclass(frozen=True)
class Driver:
    """What the system says of NVIDIA GPUs, torch aside.

    Args:
        gpus: Names, as nvidia-smi tells them.
        version: The driver's, as "535.104.05"; "" where none answers.
        problem: What nvidia-smi says instead, or "".
        device_files: Whether /dev/nvidia0 is there.
        on_bus: Whether a GPU of NVIDIA's is on the bus, driver or not.
        environment: Variables that decide what torch sees.
    """

    gpus: tuple[str, ...] = ()
    version: str = ""
    problem: str = ""
    device_files: bool = False
    on_bus: bool = False
    environment: dict[str, str] = field(default_factory=dict)


def driver() -> Driver:
    """Ask the system: nvidia-smi, /dev, the bus."""
    environment = {name: os.environ[name] for name in ("CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH") if name in os.environ}
    gpus: tuple[str, ...] = ()
    version = problem = ""
    if command := shutil.which("nvidia-smi"):
        try:
            asked = [command, "--query-gpu=name,driver_version", "--format=csv,noheader"]
            done = subprocess.run(asked, capture_output=True, text=True, timeout=30, check=False)
            rows = [line.rsplit(",", 1) for line in done.stdout.splitlines() if line.count(",")]
            if done.returncode == 0 and rows:
                gpus, version = tuple(row[0].strip() for row in rows), rows[0][1].strip()
            else:
                problem = next(iter((done.stdout or done.stderr).strip().splitlines()), "it names no GPU")
        except (OSError, subprocess.TimeoutExpired) as error:
            problem = f"nvidia-smi does not answer ({type(error).__name__})"
    return Driver(gpus, version, problem, Path("/dev/nvidia0").exists(), _on_bus(), environment)


def _on_bus() -> bool:
    """Whether a display device of NVIDIA's is on the PCI bus."""
    for device in Path("/sys/bus/pci/devices").glob("*"):
        try:
            is_nvidia = (device / "vendor").read_text().strip() == "0x10de"
            if is_nvidia and (device / "class").read_text().strip().startswith("0x03"):
                return True
        except OSError:
            continue
    return False


def diagnose(torch: TorchFacts, system: Driver) -> list[Finding]:
    """Say whether training uses a GPU, and if one is there and is not used, why not and what to type."""
    if torch.problem:
        remedy = "uv pip install --reinstall torch torchvision --torch-backend=auto"
        return [Finding("torch", "fault", f"torch cannot be loaded: {torch.problem}", remedy)]
    built = f"torch {torch.version}, built for " + (f"CUDA {torch.cuda}" if torch.cuda else "the CPU only")
    if torch.available:
        return [Finding("torch", "ok", built), *(_usable(gpu, torch) for gpu in torch.gpus)]
    if torch.mps:
        return [Finding("torch", "ok", built), Finding("GPU", "ok", "Apple's GPU (mps)")]
    return [Finding("torch", "ok", built), _unused(torch, system)]


def _usable(gpu: tuple[str, str, int, int], torch: TorchFacts) -> Finding:
    name, capability, whole, free = gpu
    says = f"{name} ({capability}), {whole / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB free"
    number = _number(capability)
    runs = [_number(arch) for arch in torch.archs if arch.startswith("sm_")]
    if runs and not any(arch // 10 == number // 10 and arch <= number for arch in runs):
        says += f". This build of torch has no code for it (it has {', '.join(torch.archs)})"
        return Finding("GPU", "fault", says, _install("cu126") + "  # the last builds for older GPUs")
    if free < SUGGESTED_GB * 1e9:
        others = "nvidia-smi  # shows who holds its memory; smaller batches need less: trapline train --batch-size 8"
        return Finding("GPU", "note", says + ": little", others)
    return Finding("GPU", "ok", says)


def _unused(torch: TorchFacts, system: Driver) -> Finding:
    """Why torch sees no GPU."""
    hidden = system.environment.get("CUDA_VISIBLE_DEVICES")
    if system.version:
        there = f"{', '.join(system.gpus)} with driver {system.version} is there, but torch cannot use it"
        if hidden is not None and hidden.strip() in ("", "-1", "NoDevFiles"):
            says = f"{there}: CUDA_VISIBLE_DEVICES={hidden!r} hides it"
            return Finding("GPU", "fault", says, "unset CUDA_VISIBLE_DEVICES")
        if torch.cuda is None:
            says = f"{there}: this torch was built for the CPU only"
            return Finding("GPU", "fault", says, _install(_build_for(system.version) or "auto"))
        needed = LEAST_DRIVER.get(int(torch.cuda.split(".")[0]), max(LEAST_DRIVER.values()))
        if _major(system.version) < needed:
            says = (
                f"{there}: torch was built for CUDA {torch.cuda}, which needs driver {needed} or newer. That is what "
                "the old chain called trouble finding CUDA"
            )
            build = _build_for(system.version)
            remedy = f"{_install(build)}  # or a newer driver: {NEWER_DRIVER}" if build else NEWER_DRIVER
            return Finding("GPU", "fault", says, remedy)
        if "cuda" in system.environment.get("LD_LIBRARY_PATH", "").casefold():
            says = f"{there}: LD_LIBRARY_PATH puts another CUDA before torch's own"
            return Finding("GPU", "fault", says, "unset LD_LIBRARY_PATH")
        if not system.device_files:
            says = f"{there}: /dev/nvidia0 is missing, as in a container that was started without the GPU"
            return Finding("GPU", "fault", says, "docker run --gpus all …  # start the container with it")
        says = f"{there}; the driver was probably updated without a restart"
        return Finding("GPU", "fault", says, "sudo reboot  # or: sudo rmmod nvidia_uvm && sudo modprobe nvidia_uvm")
    if system.problem and (system.on_bus or system.device_files):
        says = f"a GPU is there, but its driver does not answer: {system.problem}"
        return Finding("GPU", "fault", says, NEWER_DRIVER)
    if system.on_bus:
        return Finding("GPU", "fault", "a GPU of NVIDIA's is there without a driver", NEWER_DRIVER)
    return Finding("GPU", "note", "none: training takes minutes per thousand crops and epoch on the CPU, not seconds")


def _install(build: str) -> str:
    """The command that puts another build of torch into this environment; uv run would put the former back."""
    return f"uv pip install --reinstall torch torchvision --torch-backend={build} && uv run --no-sync trapline doctor"


def _build_for(version: str) -> str:
    """The newest build of torch that a driver runs; "" where it is too old for all of trapline's."""
    return next((build for least, build in BUILDS if _major(version) >= least), "")


def _major(version: str) -> int:
    digits = version.split(".", maxsplit=1)[0]
    return int(digits) if digits.isdigit() else 0


def _number(capability: str) -> int:
    digits = "".join(char for char in capability if char.isdigit())
    return int(digits) if digits else 0
