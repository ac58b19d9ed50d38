"""A training by several processes of a Ray cluster, which Ray Train starts, joins and starts again."""

import math
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trapline.core.errors import InputError, TraplineError
from trapline.core.log import Log
from trapline.engine.mapping import Together
from trapline.engine.worker import Terms

RESTARTS = 3  # of a training that failed; it goes on from its last checkpoint
PREEMPTIONS = 20  # of one whose machines were taken away
LISTEN_S = 0.5
NAME = "ray"  # of the folder that Ray Train keeps beside the checkpoints while it works


def train_together(ray: Any, call: Together, workers: int, gpus: float, marker: Path | None, log: Log) -> None:
    """Run `call` in `workers` processes that torch.distributed has joined.

    Args:
        gpus: Per process.
        log: Hears what the first of them says.

    Raises:
        InputError: The cluster is too small for them.
        TraplineError: They failed more than RESTARTS times; says why.
    """
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    each = _resources(ray, workers, gpus)
    lines = ray.remote(num_cpus=0)(_Lines).remote()
    trainer = TorchTrainer(
        _process,
        train_loop_config={"call": call, "terms": Terms(each["CPU"], marker), "lines": lines},
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=gpus > 0, resources_per_worker=each),
        run_config=RunConfig(
            name=NAME,
            storage_path=str(call.folder),
            failure_config=FailureConfig(
                max_failures=RESTARTS, max_preemption_failures=PREEMPTIONS, controller_failure_limit=RESTARTS
            ),
        ),
    )
    failed: list[BaseException] = []

    def fit() -> None:
        try:
            trainer.fit()
        except BaseException as error:  # raised below, with what the processes said
            failed.append(error)

    training = threading.Thread(target=fit, daemon=True)
    training.start()
    told: dict[str, list[TraplineError]] = {"error": [], "ended": []}
    while True:
        going = training.is_alive()
        for kind, what in ray.get(lines.take.remote()):
            told[kind].append(what) if kind in told else getattr(log, kind)(what)
        if not going:
            break
        training.join(LISTEN_S)
    shutil.rmtree(call.folder / NAME, ignore_errors=True)
    if failed:  # an error that a restart has mended is none
        raise (told["error"] or [TraplineError(f"the training failed on the Ray cluster: {failed[0]}")])[-1]
    if told["ended"]:
        raise told["ended"][-1]


def _resources(ray: Any, workers: int, gpus: float) -> dict[str, float]:
    """What each process gets: its share of the smallest machine that is needed."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if gpus:
        nodes = [node for node in nodes if node.get("GPU", 0) >= gpus]
        if sum(math.floor(node["GPU"] / gpus) for node in nodes) < workers:
            raise InputError(
                f"the Ray cluster does not have {workers} x {gpus:g} GPUs now. Ask for fewer --workers, or add "
                "machines."
            )
    nodes = [node for node in nodes if node.get("CPU", 0) >= 1]
    cores = sum(int(node["CPU"]) for node in nodes)
    if cores < workers:
        raise InputError(f"the Ray cluster has {cores} cores now, too few for {workers} --workers.")
    per_node = math.ceil(workers / len(nodes))
    each = max(1, int(min(node["CPU"] for node in nodes) // per_node))
    return {"CPU": each, "GPU": gpus} if gpus else {"CPU": each}


class _Lines:
    """An actor that keeps what the first process says until it is asked for."""

    def __init__(self) -> None:
        self._said: list[tuple[str, Any]] = []

    def put(self, kind: str, what: Any) -> None:
        """Keep a line, a warning, an error, or what ended it."""
        self._said.append((kind, what))

    def take(self) -> list[tuple[str, Any]]:
        """What was said since."""
        said, self._said = self._said, []
        return said


class _Telling(Log):
    """Sends what is said to another process."""

    def __init__(self, tell: Callable[[str, Any], None]):
        super().__init__()
        self._tell = tell

    def note(self, text: str) -> None:
        self._tell("note", text)

    def warn(self, text: str) -> None:
        self._tell("warn", text)

    def show(self, line: str) -> None:
        self._tell("show", line)


def _process(config: dict[str, Any]) -> None:
    """What each process does."""
    import ray
    from ray.train import get_context

    first = get_context().get_world_rank() == 0

    def tell(kind: str, what: Any) -> None:
        if first:
            ray.get(config["lines"].put.remote(kind, what))

    try:
        config["terms"].settle()
        ended = config["call"].run(_Telling(tell))
    except TraplineError as error:
        tell("error", error)
        raise
    if ended is not None:
        tell("ended", ended)
