"""A training's figures in MLflow, Weights & Biases or Comet, beside metrics.jsonl: where somebody asked for it.

Each keeps its own addresses and credentials, in its own settings; nothing of them is read or stored here. What the
service cannot do costs a warning and the rest of what it would have shown, never the training.
"""

import contextlib
import importlib
import os
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import msgspec

from trapline.core.errors import InputError
from trapline.core.log import Log
from trapline.io import atomic

TRACKED = "tracked.json"  # service -> its name for the run, so that going on goes on there too
PROJECT = "trapline"
PACKAGES = {"mlflow": "mlflow", "wandb": "wandb", "comet": "comet_ml"}

Figures = Mapping[str, float]


class Service(Protocol):
    """One service's view of one run."""

    def log(self, figures: Figures, epoch: int) -> None: ...

    def close(self) -> None: ...


class MlflowRun:
    """A run of MLflow, of the experiment that MLFLOW_EXPERIMENT_NAME names; within a run that is open already."""

    def __init__(self, mlflow: Any, run: str, options: Mapping[str, object], key: str | None, folder: Path):
        self._mlflow = mlflow
        self.key: str = mlflow.start_run(run_id=key, run_name=None if key else run, nested=True).info.run_id
        if key is None:
            mlflow.log_params(dict(options))

    def log(self, figures: Figures, epoch: int) -> None:
        self._mlflow.log_metrics(dict(figures), step=epoch, run_id=self.key)

    def close(self) -> None:
        self._mlflow.end_run()


class WandbRun:
    """A run of Weights & Biases, of the project that WANDB_PROJECT names."""

    def __init__(self, wandb: Any, run: str, options: Mapping[str, object], key: str | None, folder: Path):
        self.key = key or uuid.uuid4().hex[:12]
        self._run = wandb.init(
            project=None if _is_set("WANDB_PROJECT") else PROJECT,
            id=self.key,
            name=run,
            config=dict(options),
            resume="allow",
            dir=str(folder),
            save_code=False,
            settings=wandb.Settings(
                silent=True, console="off", x_disable_stats=True, x_disable_meta=True, disable_git=True
            ),
        )

    def log(self, figures: Figures, epoch: int) -> None:
        self._run.log(dict(figures), step=epoch)

    def close(self) -> None:
        self._run.finish()


class CometRun:
    """An experiment of Comet, of the project that COMET_PROJECT_NAME names."""

    def __init__(self, comet_ml: Any, run: str, options: Mapping[str, object], key: str | None, folder: Path):
        self.key = key or uuid.uuid4().hex
        own = comet_ml.ExperimentConfig(
            name=run,
            offline_directory=str(folder),
            log_code=False,
            log_graph=False,
            log_git_metadata=False,
            log_git_patch=False,
            log_env_details=False,
            auto_param_logging=False,
            auto_metric_logging=False,
            auto_output_logging=False,
            parse_args=False,
        )
        self._experiment = comet_ml.start(
            project_name=None if _is_set("COMET_PROJECT_NAME") else PROJECT,
            experiment_key=self.key,
            online=False if _is_set("COMET_OFFLINE") else None,
            experiment_config=own,
        )
        self._experiment.log_parameters(dict(options))

    def log(self, figures: Figures, epoch: int) -> None:
        self._experiment.log_metrics(dict(figures), step=epoch)

    def close(self) -> None:
        self._experiment.end()


SERVICES: dict[str, Callable[..., Any]] = {"mlflow": MlflowRun, "wandb": WandbRun, "comet": CometRun}


class Tracker:
    """Tells a service about a run. With `service` None it does nothing.

    Args:
        service: One of SERVICES.
        run_dir: The run's folder; its name is the run's.
        options: What the run is made with.

    Raises:
        InputError: The service's package is not installed.
    """

    def __init__(self, service: str | None, run_dir: Path, options: Mapping[str, object], log: Log):
        self._name, self._log, self._run = service, log, None
        if service is None:
            return
        package = _package(service)
        known = _read(run_dir)

        def begin() -> None:
            self._run = SERVICES[service](package, run_dir.name, options, known.get(service), run_dir)
            _write(run_dir, {**known, service: self._run.key})

        self._try(begin)

    def log(self, row: Mapping[str, float | int | None]) -> None:
        """One line of metrics.jsonl."""
        run = self._run
        if run is not None:
            figures = {name: float(value) for name, value in row.items() if value is not None and name != "epoch"}
            self._try(lambda: run.log(figures, int(row["epoch"] or 0)))

    def close(self) -> None:
        """Say that this call is over, and wait for what is on its way."""
        run = self._run
        if run is not None:
            self._try(run.close)
        self._run = None

    def _try(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception as error:  # each service has errors of its own, and none is worth a training
            failed, self._run = self._run, None
            if failed is not None:
                with contextlib.suppress(Exception):
                    failed.close()
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            self._log.warn(f"{self._name} is not told about this run any more ({first}). The training goes on.")


def check(service: str | None) -> None:
    """Raise an InputError where the service's package is not installed."""
    if service is not None:
        _package(service)


def _package(service: str) -> ModuleType:
    try:
        return importlib.import_module(PACKAGES[service])
    except ImportError:
        raise InputError(
            f"--track {service} needs a package that is not installed: pip install {PACKAGES[service]}. Without "
            "--track the same figures are in the run's metrics.jsonl and tensorboard/."
        ) from None


def _is_set(name: str) -> bool:
    return bool(os.environ.get(name))


def _read(run_dir: Path) -> dict[str, str]:
    try:
        return msgspec.json.decode((run_dir / TRACKED).read_bytes(), type=dict[str, str])
    except (OSError, msgspec.DecodeError):
        return {}


def _write(run_dir: Path, known: Mapping[str, str]) -> None:
    data = msgspec.json.format(msgspec.json.encode(known), indent=2)
    atomic.replace(run_dir / TRACKED, lambda stream: stream.write(data))
