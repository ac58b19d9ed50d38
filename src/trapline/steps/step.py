"""What a step is, and what it may touch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from trapline.core import schemas, urls
from trapline.core.config import FetchConfig, ProjectConfig, Section
from trapline.core.log import Log
from trapline.engine.local import LOCAL
from trapline.engine.mapping import Engine
from trapline.io import tables
from trapline.io.layout import Layout
from trapline.io.ledger import Records, file_digest
from trapline.io.storage import Storage


@dataclass(frozen=True)
class Context:
    """What a step may touch: the project's paths, configuration and records; and where its work runs."""

    layout: Layout
    config: ProjectConfig
    records: Records
    engine: Engine = LOCAL

    def table(self, name: str, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """A whole-frame stage's table, or some of its columns."""
        return tables.read(self.layout.table(name), columns)

    @property
    def storage(self) -> Storage:
        """Where crops, parts and checkpoints lie."""
        return Storage(self.layout, self.config.storage)

    def folders(self) -> dict[str, Path]:
        """Dataset -> folder of its images, relative to the project where it lies inside it.

        Remote images have their dataset's own folder. Datasets of ready-made crops that are known by name only have
        none.
        """
        away = self.stores()
        every = self.config.datasets.items()
        sources = [(name, source) for name, source in every if source.images or not source.ready_made]
        return {
            name: Path(self.layout.shorten(self.layout.images(name, None if name in away else source.images)))
            for name, source in sources
        }

    def stores(self, cfg: FetchConfig | None = None) -> dict[str, str]:
        """Dataset -> URL that its images are fetched from, of those that are remote.

        Args:
            cfg: Settings of the fetching, with a bucket that comes before trapline.yaml's. Default: trapline.yaml's.
        """
        bucket = (cfg or self.config.fetch).bucket
        found = {}
        for name, source in self.config.datasets.items():
            if source.images is not None and urls.is_url(source.images):
                found[name] = urls.with_bucket(source.images, bucket)
            elif source.images is None and bucket is not None and not source.ready_made:
                found[name] = f"s3://{bucket}"
        return found


@dataclass(frozen=True)
class Made:
    """What a step made: table (or thing) -> fingerprint of its content, and facts for status.

    `inputs`: fingerprints of outside inputs as they are now, where the step itself changed them (files it fetched).
    """

    outputs: dict[str, str]
    facts: dict[str, object] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """How a stage sits in a project.

    Args:
        reads: Names of the outputs of earlier steps it depends on.
        run: Does the work; commits all files before it returns.
        outside: Fingerprints of inputs that no step makes (annotation files, image folders, corrections), some of
            them named by the stage's settings.
    """

    reads: tuple[str, ...]
    run: Callable[[Context, Section, Mapping[str, str], Log], Made]
    outside: Callable[[Context, Section], dict[str, str]] = lambda context, cfg: {}


def write(context: Context, frames: Mapping[str, pl.DataFrame]) -> dict[str, str]:
    """Write tables and return their digests."""
    for name, frame in frames.items():
        tables.write(context.layout.table(name), frame, schemas.TABLES[name])
    return {name: file_digest(context.layout.table(name)) for name in frames}
