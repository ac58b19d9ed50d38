"""Where the crops, parts and checkpoints of a project lie, as trapline.yaml's `storage:` says.

Below an s3:// URL names are those of the project's folder: crops/<dataset>/..., tables/<stage>/part-*.parquet,
runs/<id>/... Copied from one to the other, what is there counts as made.
"""

from dataclasses import dataclass
from pathlib import Path

from trapline.core.config import FetchConfig, StorageConfig
from trapline.io import project_file, run_copy
from trapline.io.away import Objects
from trapline.io.layout import Layout
from trapline.io.ledger import Parts
from trapline.io.packed import Packed
from trapline.io.places import Folder, Place

BUDGET_S = 600.0  # for one object; a checkpoint may take minutes


@dataclass(frozen=True)
class Storage:
    """The places of one project."""

    layout: Layout
    cfg: StorageConfig

    @property
    def crops(self) -> Place:
        """Of crops, by crop_id."""
        place = self._inside("crops") or Folder(self.layout.crops)
        return Packed(place) if self.cfg.packed else place

    def parts(self, stage: str) -> Parts:
        """What is done of a map stage whose outputs lie in the storage too, or in tables."""
        return self._parts(f"tables/{stage}", self.layout.parts(stage))

    def predictions(self, run_id: str) -> Parts:
        """What is done of a run's predictions."""
        return self._parts(f"runs/{run_id}/predictions", self.layout.run(run_id) / "predictions")

    def _parts(self, name: str, folder: Path) -> Parts:
        away = self._inside(name)
        return Parts(folder) if away is None else Parts(away, beside=folder)

    def run(self, run_id: str) -> Objects | None:
        """Where a run's checkpoints lie, and what belongs to them, beside its folder; None where nowhere else."""
        return self._inside(f"runs/{run_id}")

    def runs(self) -> Objects | None:
        """Where all runs' copies lie; None where nowhere else."""
        return self._inside("runs")

    def checkpoint(self, run_id: str) -> Path:
        """A run's best checkpoint, brought from the storage where its folder lacks it. It may be in neither."""
        folder, away = self.layout.run(run_id), self.run(run_id)
        if away is not None:
            run_copy.bring_one(folder, away, run_copy.BEST)
        return folder / run_copy.BEST

    def has_checkpoint(self, run_id: str) -> bool:
        """Whether a run's best checkpoint is in its folder or in the storage."""
        away = self.run(run_id)
        if (self.layout.run(run_id) / run_copy.BEST).exists():
            return True
        return away is not None and away.state([run_copy.BEST])["file_bytes"][0] is not None

    def stamp(self) -> dict[str, str]:
        """What makes crops stale where they are to lie otherwise; nothing for plain files in the project's folder."""
        if self.cfg.url is None and not self.cfg.packed:
            return {}
        return {"storage": f"{self.cfg.url or 'the project'}{', packed' if self.cfg.packed else ''}"}

    def _inside(self, folder: str) -> Objects | None:
        if self.cfg.url is None:
            return None
        asked_with = FetchConfig(
            profile=self.cfg.profile, endpoint=self.cfg.endpoint, region=self.cfg.region, budget_s=BUDGET_S
        )
        return Objects(self.cfg.url.rstrip("/"), asked_with).inside(folder)


def of_project(layout: Layout) -> Storage:
    """The storage of the project that lies there.

    Raises:
        InputError: Its trapline.yaml is missing or has problems.
    """
    return Storage(layout, project_file.read(layout.config).storage)
