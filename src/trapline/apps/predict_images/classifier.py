"""The classifier that predicts: a project's run, a run's folder alone, or a checkpoint; and what is known beside it."""

from dataclasses import dataclass
from pathlib import Path

from trapline.core import calibration
from trapline.core.calibration import Calibration
from trapline.core.config import CropConfig
from trapline.core.errors import InputError
from trapline.core.log import Log
from trapline.formats import calibration_json
from trapline.io import storage
from trapline.io.layout import Layout
from trapline.io.ledger import Records
from trapline.io.runs import named_run
from trapline.learn import checkpoint as checkpoints
from trapline.learn.checkpoint import Checkpoint

BEST = Path("checkpoints") / "best.pt"


@dataclass(frozen=True)
class Classifier:
    """What predicts.

    Args:
        path: The checkpoint's file.
        known: What it holds.
        run_dir: The run's folder; None for a checkpoint alone.
        project: The project that the run lies in, if it does.
        crops: How its training crops were cut.
        calibration: How its scores become calibrated ones.
    """

    path: Path
    known: Checkpoint
    run_dir: Path | None
    project: Layout | None
    crops: CropConfig
    calibration: Calibration

    @property
    def name(self) -> str:
        """What results call it."""
        return f"trapline {self.run_dir.resolve().name if self.run_dir is not None else self.path.stem}"

    @property
    def labels(self) -> list[str]:
        return list(self.known.labels)


def find(name: str | None, project: Path, log: Log) -> Classifier:
    """The classifier that `--run` names.

    Args:
        name: A run of the project, a run's folder, or a checkpoint's file. Default: the project's newest finished run.

    Raises:
        InputError: There is none, or it is no classifier.
    """
    runs = Layout(project).runs
    if name is None:
        finished = sorted(path.parent.name for path in runs.glob("*/done.json"))
        if not finished:
            raise InputError(
                f"{project} has no finished run. Name one, or a checkpoint: --run RUN (a run's folder, or its best.pt)."
            )
        name = finished[-1]
        log.note(f"run {name}")
    if Path(name).is_file():
        path = Path(name)
        run_dir = path.parent.parent if (path.parent.parent / "params.json").exists() else None
    else:
        run_dir = named_run(name, runs)
        home = _project_of(run_dir)
        path = run_dir / BEST
        if home is not None and not path.exists():
            path = storage.of_project(home).checkpoint(run_dir.resolve().name)
        if not path.exists():
            raise InputError(
                f"{run_dir} holds no {BEST.as_posix()}: it is not a run, or its training has not come that far."
            )
    known = checkpoints.load(path)
    home = None if run_dir is None else _project_of(run_dir)
    return Classifier(path, known, run_dir, home, _crops(known, home, log), _calibration(known, run_dir, path, log))


def _project_of(run_dir: Path) -> Layout | None:
    """The project that a run lies in."""
    home = Layout(run_dir.resolve().parent.parent)
    return home if home.config.exists() else None


def _crops(known: Checkpoint, project: Layout | None, log: Log) -> CropConfig:
    """How the crops that it was trained on were cut: as the checkpoint says, else as its project does."""
    said = known.trained.get("crops")
    if not said and project is not None and (record := Records(project.records).read("crop")) is not None:
        said = record.config
    if not said:
        log.warn(
            "the checkpoint does not say how its training crops were cut (it is from before that was kept): as by "
            f"default, {CropConfig().style}, at most {CropConfig().max_size} px."
        )
        return CropConfig()
    return CropConfig.model_validate({name: value for name, value in said.items() if name in CropConfig.model_fields})


def _calibration(known: Checkpoint, run_dir: Path | None, path: Path, log: Log) -> Calibration:
    """What evaluate learnt about the run's scores; of its best checkpoint only."""
    labels = list(known.labels)
    found = run_dir / "calibration.json" if run_dir is not None and path == run_dir / BEST else None
    if known.multilabel:
        return calibration.none(labels, "crops may have several labels")
    if found is None or not found.exists():
        why = "trapline evaluate makes it" if run_dir is not None else "it lies in a run's folder"
        log.note(f"scores are not calibrated: there is no calibration.json ({why}).")
        return calibration.none(labels, "there is no calibration.json")
    return calibration_json.read(found, labels)
