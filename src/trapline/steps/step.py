"""What a step is, and what it may touch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from trapline.core import schemas
from trapline.core.config import ProjectConfig, Section
from trapline.core.log import Log
from trapline.io import tables
from trapline.io.layout import Layout
from trapline.io.ledger import Records, file_digest


@dataclass(frozen=True)
class Context:
    """What a step may touch: the project's paths, configuration and records."""

    layout: Layout
    config: ProjectConfig
    records: Records

    def table(self, name: str) -> pl.DataFrame:
        """A whole-frame stage's table."""
        return tables.read(self.layout.table(name))

    def folders(self) -> dict[str, Path]:
        """Dataset -> folder of its images, relative to the project where it lies inside it.

        Datasets of ready-made crops that are known by name only have none.
        """
        every = self.config.datasets.items()
        sources = [(name, source) for name, source in every if source.images or not source.ready_made]
        return {name: Path(self.layout.shorten(self.layout.images(name, source.images))) for name, source in sources}


@dataclass(frozen=True)
class Made:
    """What a step made: table (or thing) -> fingerprint of its content, and facts for status."""

    outputs: dict[str, str]
    facts: dict[str, object] = field(default_factory=dict)


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
