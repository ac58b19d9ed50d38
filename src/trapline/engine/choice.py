"""Which engine runs a stage: this machine, or a Ray cluster."""

from pathlib import Path
from typing import Literal

from trapline.core.errors import InputError
from trapline.engine.local import LOCAL
from trapline.engine.mapping import Engine

EngineName = Literal["local", "ray"]


def engine_of(
    name: EngineName,
    address: str | None,
    *,
    root: Path | None = None,
    folder: Path | None = None,
    workers: int = 1,
    gpus_per_worker: float = 0,
) -> Engine:
    """The engine of a name; nothing is started yet.

    Args:
        address: Of a Ray cluster's head, HOST:PORT.
        root: The project's folder, which every machine has to see.
        folder: Another folder that every machine has to have, such as that of new images.
        workers, gpus_per_worker: Processes of a cluster that train together, and what each gets.

    Raises:
        InputError: An address or workers without ray.
    """
    if name == "local":
        if workers != 1 or gpus_per_worker:
            raise InputError(
                "--workers and --gpus-per-worker are for --engine ray. On one machine, torchrun starts several "
                "processes: see docs/train.md."
            )
        if address is not None:
            raise InputError("--address names a Ray cluster: give it together with --engine ray.")
        return LOCAL
    from trapline.engine.ray import Ray  # Ray's own module; it is loaded when work begins

    return Ray(address, root, folder, workers, gpus_per_worker)
