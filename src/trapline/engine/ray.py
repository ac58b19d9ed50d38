"""Parts on the machines of a Ray cluster: the same work, each part committed here the moment it comes back.

Only this module and the one of training import Ray.
"""

import logging
import os
import socket
import time
import uuid
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from trapline.core import cores
from trapline.core.errors import InputError, TraplineError
from trapline.core.log import Log
from trapline.engine.mapping import Job, Outcome, Parcel, Piece, Together
from trapline.engine.worker import Order, Terms, do
from trapline.io import atomic

LOST = 20  # times that a part may lose its machine before the stage is given up
AHEAD = 2  # parts asked for per place where one can run, so that none idles while an answer travels
KNOCK_S = 10.0
LOOK_S = 5.0  # between two looks at how many places there are
# `uv run` would otherwise make Ray copy the current folder to every worker, images and all; and a cluster that is
# started here would report its use to Ray's makers.
QUIET = {"RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0", "RAY_USAGE_STATS_ENABLED": "0"}


def connect(address: str | None) -> Any:
    """Ray itself, connected: to the cluster at `address`, or at RAY_ADDRESS, or to one that this machine belongs to;
    where there is none, to a new one of this machine's cores.

    Raises:
        InputError: Ray is not installed, or no cluster that can be used answers there.
    """
    os.environ.update({name: value for name, value in QUIET.items() if name not in os.environ})
    try:
        import ray
    except ImportError:
        raise InputError(
            "--engine ray needs Ray. Install it on every machine: uv sync --extra ray (or pip install 'trapline[ray]')."
        ) from None
    if ray.is_initialized():
        return ray
    wanted = address or os.environ.get("RAY_ADDRESS")
    if wanted != "local":
        try:
            _knock(wanted)
            ray.init(wanted or "auto", log_to_driver=False, logging_level=logging.ERROR)
            return ray
        except (OSError, ValueError) as error:
            if wanted is not None:
                raise InputError(
                    f"no Ray cluster answers at {wanted} ({_first_line(error)}). Start one with ray start --head, and "
                    "on the other machines ray start --address HEAD:6379; or leave out --address. One with a token "
                    "needs RAY_AUTH_MODE=token here too: see docs/cluster.md."
                ) from None
        except RuntimeError as error:  # another version of Ray or of Python
            raise InputError(f"the Ray cluster cannot be used: {_first_line(error)}") from None
    ray.init(
        "local",
        num_cpus=cores.usable_cores(),
        log_to_driver=False,
        logging_level=logging.ERROR,
        include_dashboard=False,
    )
    return ray


def _knock(address: str | None) -> None:
    """Raise OSError where nobody listens at HOST:PORT: Ray itself would wait for minutes, and end the process."""
    host, _, port = (address or "").rpartition(":")
    if host and port.isdigit() and "/" not in host:
        socket.create_connection((host, int(port)), KNOCK_S).close()


@dataclass(frozen=True)
class Ray:
    """A Ray cluster.

    Args:
        address: HOST:PORT of its head; None as `connect`.
        root: The project's folder, which every machine must see; None where that does not matter.
        folder: Another folder that every machine must have.
        workers: Processes that train together.
        gpus_per_worker: That each of them gets.
    """

    address: str | None = None
    root: Path | None = None
    folder: Path | None = None
    workers: int = 1
    gpus_per_worker: float = 0

    def run(self, job: Job) -> None:
        """As Engine.run. A part whose process dies is halved until it is known which row kills it; one whose machine
        is gone is done elsewhere."""
        ray = connect(self.address)
        waiting = job.pieces(job.todo)
        again: deque[Piece] = deque()
        out: dict[Any, Piece] = {}
        with _marked(self.root) as marker, _crew(ray, job, marker or self.folder) as crew:
            piece = next(waiting, None)
            while piece is not None or out:
                while piece is not None and len(out) < crew.room():
                    out[crew.give(piece.rows)] = piece
                    piece = again.popleft() if again else next(waiting, None)
                for ref in crew.finished():
                    done = out.pop(ref)
                    try:
                        job.settle(done, crew.outcome(ref))
                    except _MachineLost:
                        again.append(_moved(done))
                        continue
                    except _ProcessDied as died:
                        if halves := done.after_death():
                            again.extend(halves)
                            continue
                        job.give_up(done, str(died))
                    job.advance(done.rows.height)
                if piece is None and again:
                    piece = again.popleft()

    def together(self, call: Together, log: Log) -> None:
        """As Engine.together: `workers` processes of the cluster."""
        from trapline.engine.ray_training import train_together

        with _marked(self.root) as marker:
            train_together(connect(self.address), call, self.workers, self.gpus_per_worker, marker, log)


def _moved(piece: Piece) -> Piece:
    """The same for another machine."""
    if piece.moves >= LOST:
        raise TraplineError(
            f"a part lost the machine that worked on it {LOST} times: machines go faster than they work. What is done "
            "is kept; run the same command again."
        ) from None
    return replace(piece, moves=piece.moves + 1)


class _MachineLost(Exception):
    """The machine of a piece is gone, or what it had made."""


class _ProcessDied(Exception):
    """The process of a piece died; says how."""


class _Tasks:
    """Work as tasks, on whatever machines there are at the time."""

    def __init__(self, ray: Any, order: Order):
        self.ray = ray
        self._cores = order.terms.cores
        self._order = [ray.put(order)]  # in a list, so that it is taken out only where it is not known yet
        self._do = ray.remote(_do).options(num_cpus=order.terms.cores, max_retries=0)
        self._looked, self._places = -LOOK_S, 1
        self._out: dict[Any, Any] = {}  # piece -> who has it

    def room(self) -> int:
        """Pieces that may be out at a time."""
        if time.monotonic() - self._looked >= LOOK_S:
            self._looked = time.monotonic()
            self._places = max(int(self.ray.cluster_resources().get("CPU", 0) / self._cores), 1)
        return AHEAD * self._places

    def give(self, rows: pl.DataFrame) -> Any:
        """Have rows done; returns what stands for their outcome."""
        ref = self._do.remote(self._order, Parcel.of(rows))
        self._out[ref] = None
        return ref

    def finished(self) -> list[Any]:
        """Those that are finished, after a while at most."""
        out = list(self._out)
        if not out:
            return []
        return self.ray.wait(out, num_returns=len(out), timeout=0)[0] or self.ray.wait(out, timeout=LOOK_S)[0]

    def outcome(self, ref: Any) -> Outcome:
        """What became of a piece.

        Raises:
            _MachineLost, _ProcessDied
        """
        self._out.pop(ref)
        errors = self.ray.exceptions
        try:
            return self.ray.get(ref)
        except (errors.NodeDiedError, errors.ObjectLostError, errors.ActorUnavailableError):
            raise _MachineLost from None
        except errors.OutOfMemoryError:
            raise _ProcessDied("out of memory") from None
        except (errors.WorkerCrashedError, errors.ActorDiedError) as error:
            if "node has died" in str(error):
                raise _MachineLost from None
            raise _ProcessDied("its process was killed, or crashed") from None
        except errors.RayTaskError as error:  # the worker could not even begin
            raise InputError(
                f"a machine of the Ray cluster cannot work ({_first_line(error.cause)}). Each needs the same trapline, "
                "with the extra ray."
            ) from None

    def close(self) -> None:
        """Break off what is not finished."""
        for ref in self._out:
            self.ray.cancel(ref, force=True)


class _Actors(_Tasks):
    """Work as one actor per GPU, which keeps its model there; as tasks while the cluster has no GPU left."""

    def __init__(self, ray: Any, order: Order):
        super().__init__(ray, order)
        self._kind = ray.remote(_Keeper).options(num_gpus=1, num_cpus=order.terms.cores)
        self._coming: dict[Any, Any] = {}  # what says that it is there -> actor
        self._load: dict[Any, int] = {}  # actor -> pieces that it has
        self._gpus = 0

    def room(self) -> int:
        """As of tasks; none before the first actor is there."""
        if time.monotonic() - self._looked >= LOOK_S:
            super().room()  # looks at the cores too
            self._gpus = int(self.ray.cluster_resources().get("GPU", 0))
            for _ in range(self._gpus - len(self._load) - len(self._coming)):
                actor = self._kind.remote(self._order)
                self._coming[actor.ready.remote()] = actor
        if self._coming:
            waited = LOOK_S if self._gpus and not self._load else 0
            for ref in self.ray.wait(list(self._coming), num_returns=len(self._coming), timeout=waited)[0]:
                self._load[self._coming.pop(ref)] = 0
        return AHEAD * len(self._load) if self._gpus or self._load else AHEAD * self._places

    def give(self, rows: pl.DataFrame) -> Any:
        if not self._load:
            return super().give(rows)
        actor = min(self._load, key=lambda one: self._load[one])
        ref = actor.do.remote(Parcel.of(rows))
        self._load[actor] += 1
        self._out[ref] = actor
        return ref

    def outcome(self, ref: Any) -> Outcome:
        actor = self._out[ref]
        try:
            found = super().outcome(ref)
        except (_MachineLost, _ProcessDied):
            self._load.pop(actor, None)
            self._looked = -LOOK_S
            raise
        if actor in self._load:
            self._load[actor] -= 1
        return found

    def close(self) -> None:
        self._out = {ref: actor for ref, actor in self._out.items() if actor is None}
        super().close()
        for actor in [*self._load, *self._coming.values()]:
            self.ray.kill(actor)


def _do(order: list[Any], rows: Parcel) -> Outcome:
    """Do a piece in a worker."""
    import ray

    return do(lambda: ray.get(order[0]), str(order[0]), rows)


class _Keeper:
    """An actor that keeps what it was made with."""

    def __init__(self, order: list[Any]):
        self._order = order

    def ready(self) -> None:
        """Answers once it is there."""

    def do(self, rows: Parcel) -> Outcome:
        """Do a piece."""
        return _do(self._order, rows)


@contextmanager
def _crew(ray: Any, job: Job, marker: Path | None) -> Iterator[_Tasks]:
    """Tasks; actors where there are GPUs that help. What is not finished at the end is broken off."""
    order = Order(job.make, Terms(job.cores, marker))
    crew = (_Actors if job.gpu and ray.cluster_resources().get("GPU", 0) else _Tasks)(ray, order)
    try:
        yield crew
    finally:
        crew.close()


@contextmanager
def _marked(root: Path | None) -> Iterator[Path | None]:
    """A file by which a worker knows that it sees the same folder as this process."""
    if root is None:
        yield None
        return
    marker = root / ".trapline" / f"cluster-{uuid.uuid4().hex}"
    atomic.replace_text(marker, "a run of trapline on a Ray cluster is looking for this file from other machines\n")
    try:
        yield marker
    finally:
        marker.unlink(missing_ok=True)


def _first_line(error: object) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
