"""Where everything of a project lies on disk. The only module that knows."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Layout:
    """Paths of one project folder."""

    root: Path

    @property
    def config(self) -> Path:
        return self.root / "trapline.yaml"

    @property
    def corrections(self) -> Path:
        return self.root / "corrections.csv"

    @property
    def locations(self) -> Path:
        return self.root / "locations.csv"

    @property
    def crops(self) -> Path:
        return self.root / "crops"

    @property
    def dataset(self) -> Path:
        return self.root / "dataset"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def inspect_page(self) -> Path:
        return self.root / "inspect.html"

    @property
    def records(self) -> Path:
        return self.root / ".trapline" / "records"

    @property
    def lock(self) -> Path:
        return self.root / ".trapline" / "lock"

    def images(self, dataset: str, configured: str | None) -> Path:
        """The folder of a dataset's full-size images."""
        return self.resolve(configured) if configured else self.root / "images" / dataset

    def table(self, name: str) -> Path:
        return self.root / "tables" / f"{name}.parquet"

    def parts(self, stage: str) -> Path:
        return self.root / "tables" / stage

    def run(self, run_id: str) -> Path:
        return self.runs / run_id

    def resolve(self, path: str) -> Path:
        """A path of trapline.yaml: absolute, or relative to the project."""
        return self.root / Path(path).expanduser()

    def shorten(self, path: Path) -> str:
        """A path as tables hold it: relative to the project where it lies inside it, so that a project can move."""
        try:
            return path.relative_to(self.root).as_posix()
        except ValueError:
            return path.as_posix()
