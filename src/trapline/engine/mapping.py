"""The contract of every engine: a function of rows, run over the rows that are not done yet, each part committed."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import msgspec
import polars as pl

from trapline.core.errors import TraplineError
from trapline.core.log import Advance, Log
from trapline.io.ledger import FINGERPRINT, Parts, fingerprint, row_texts

TRIES = 3  # processes that may die of a row before it is given up


class PartlyDone(Exception):
    """Raised by a work that has to end before all rows of its part are done: the rows that are get committed.

    Args:
        rows: Output rows of what is done.
        reason: What ends the stage; raised in its turn.
    """

    def __init__(self, rows: pl.DataFrame, reason: BaseException):
        super().__init__(str(reason))
        self.rows = rows
        self.reason = reason


class Work(ABC):
    """What a stage does with some of its rows. Made once in each process of an engine, by what `Job.make` says.

    A module's class, whose arguments can be pickled: other processes, perhaps on other machines, make their own.
    """

    @abstractmethod
    def __call__(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Output rows that carry the key, any number of them per row; a row left out has its turn again with the next
        call. Of no rows, no rows. For any number of threads at a time. May raise PartlyDone."""

    @abstractmethod
    def failed(self, rows: pl.DataFrame, reason: str) -> pl.DataFrame:
        """Output rows of rows that no process survives."""

    def stop(self) -> None:  # noqa: B027 (most have nothing to stop)
        """Called when the work is broken off, before it is waited for; makes it end soon."""


@dataclass(frozen=True)
class Piece:
    """Rows that one process works on at a time, their fingerprints among them."""

    rows: pl.DataFrame
    deaths: int = 0  # of processes that had this very piece
    moves: int = 0  # machines that were lost with it

    def after_death(self) -> "list[Piece]":
        """What to try next: each half by itself, until it is known which row it is; nothing once that has had its
        tries."""
        middle = self.rows.height // 2
        if middle:
            return [Piece(self.rows[:middle]), Piece(self.rows[middle:])]
        return [replace(self, deaths=self.deaths + 1)] if self.deaths + 1 < TRIES else []


@dataclass(frozen=True)
class Parcel:
    """A few rows on their way to another process. A slice of a frame would take along the strings of all of it."""

    values: list[tuple]
    schema: pl.Schema

    @classmethod
    def of(cls, rows: pl.DataFrame) -> "Parcel":
        """The rows, to be pickled."""
        return cls(rows.rows(), rows.schema)

    def rows(self) -> pl.DataFrame:
        """The rows again."""
        return pl.DataFrame(self.values, schema=self.schema, orient="row")


@dataclass(frozen=True)
class Outcome:
    """What became of a piece: output rows, and what ended it before its end, if anything did."""

    rows: pl.DataFrame | None
    error: BaseException | None = None


@dataclass(frozen=True)
class Job:
    """What an engine is to run.

    Args:
        make: Makes the work, in whatever process.
        todo: What is to be done, with fingerprints; `part_rows` rows are a part.
        parts: Where what is finished is committed.
        workers: Threads, for an engine of this machine.
        cores: CPU cores that a process of its own needs, for an engine of several.
        gpu: Whether it is quicker on a GPU.
    """

    make: Callable[[], Work]
    todo: pl.DataFrame
    part_rows: int
    key: str
    parts: Parts
    advance: Advance
    log: Log
    workers: int = 1
    cores: float = 1.0
    gpu: bool = False

    def pieces(self, rows: pl.DataFrame) -> Iterator[Piece]:
        """Some of the rows in parts, made when they are asked for."""
        return (Piece(rows.slice(start, self.part_rows)) for start in range(0, rows.height, self.part_rows))

    def settle(self, piece: Piece, outcome: Outcome) -> None:
        """Commit what is done of a piece; raise what ended it."""
        if outcome.rows is not None:
            self._commit(piece, outcome.rows)
        if outcome.error is not None:
            raise outcome.error

    def give_up(self, piece: Piece, how: str) -> None:
        """Commit the failure of a row whose processes died."""
        reason = f"the process that reads it dies ({how}; tried {TRIES} times)"
        self._commit(piece, self.make().failed(piece.rows.drop(FINGERPRINT), reason))

    def _commit(self, piece: Piece, output: pl.DataFrame) -> None:
        if output.height:
            self.parts.commit(output.join(piece.rows.select(self.key, FINGERPRINT), on=self.key, how="left"))


class Together(Protocol):
    """What several processes do together; picklable."""

    @property
    def folder(self) -> Path:
        """Where the engine may keep what it needs for it, on a file system that all see."""
        ...

    def run(self, log: Log) -> TraplineError | None:
        """Do this process's share; returns what ended it early without being anybody's failure, such as its budget of
        time."""
        ...


class Engine(Protocol):
    """Runs the pieces of a job, somewhere."""

    def run(self, job: Job) -> None:
        """Run and commit every piece, in any order.

        Raises:
            Whatever ends a piece; what was committed before stays.
        """
        ...

    def together(self, call: Together, log: Log) -> None:
        """Have several processes do something together; nothing where this process is the only one.

        Raises:
            Whatever ends it.
        """
        ...


def attempt(work: Work, rows: pl.DataFrame) -> Outcome:
    """Do a piece in this process. Errors are part of the outcome, so that they travel."""
    try:
        return Outcome(work(rows.drop(FINGERPRINT)))
    except PartlyDone as partly:
        return Outcome(partly.rows, partly.reason)
    except BaseException as error:  # KeyboardInterrupt too: it ends the stage from any thread
        return Outcome(None, error)


def map_rows(
    make: Callable[[], Work],
    rows: pl.DataFrame,
    *,
    engine: Engine,
    key: str,
    config: Mapping[str, object],
    parts: Parts,
    part_rows: int,
    log: Log,
    what: str,
    workers: int = 1,
    cores: float = 1.0,
    gpu: bool = False,
    still_good: Callable[[pl.DataFrame], pl.Series] | None = None,
) -> pl.DataFrame:
    """Do the work of the rows that are not done yet, part by part, and return the outputs of all rows.

    The outputs are the same whatever the engine.

    Args:
        make: Makes the work, in every process that takes part; picklable.
        rows: One row per unit of work. Everything in a row is part of its fingerprint.
        engine: Where it runs.
        key: Column that names a row, unique.
        config: JSON-able settings that change the output, the stage's integer VERSION among them.
        parts: Where finished parts are committed.
        part_rows: Rows per part: what a kill can cost, per worker.
        what: What is being done, for the progress bar ("crops made").
        workers, cores, gpu: As `Job`.
        still_good: Given committed output rows, says which still stand (their files exist). A row of which any
            output does not is run again.

    Returns:
        Output rows in the order of `rows`, without the ledger's own column.
    """
    rows = with_fingerprints(rows, config)
    names, none = rows.select(key, FINGERPRINT), rows.drop(FINGERPRINT).clear()
    table = parts.read(names)
    good = table
    if good is not None and still_good is not None:
        lost = good.filter(~still_good(good)).select(key).unique()
        good = good.join(lost, on=key, how="anti")
    todo = rows if good is None else rows.join(good.select(key).unique(), on=key, how="anti", maintain_order="left")
    if todo.height:
        table = good = None
        if still_good is not None:
            # What these rows were made into under other settings is about to be overwritten. Were that remembered,
            # a kill and a return to those settings would take the new files for the old ones.
            parts.forget(pl.col(key).is_in(todo[key].implode()))
        with log.progress(what, todo.height) as advance:
            engine.run(Job(make, todo, part_rows, key, parts, advance, log, workers, cores, gpu))
        # Of a million rows there is one table at a time: what was asked for goes before what came of it is read.
        del rows, todo
        table = parts.read(names)
    if table is None:
        return make()(none)
    columns = table.get_columns()
    order = _order(table[key], names[key])
    del table
    if order is not None:
        for number in range(len(columns)):  # one by one, each in place of what it was
            columns[number] = columns[number].gather(order)
    table = pl.DataFrame(columns)
    parts.settle(table)
    return table.drop(FINGERPRINT)


def _order(keys: pl.Series, names: pl.Series) -> pl.Series | None:
    """Row numbers that put keys in the order of `names`, those of one name as they were; None where they are."""
    place = names.to_frame("key").with_row_index("_place")
    found = keys.to_frame("key").join(place, on="key", how="left", maintain_order="left").select("_place")
    if found["_place"].is_sorted():
        return None
    return found.select(pl.arg_sort_by("_place", maintain_order=True)).to_series()


def with_fingerprints(rows: pl.DataFrame, config: Mapping[str, object]) -> pl.DataFrame:
    """`rows` plus the fingerprint of each: of the row's values and of the config."""
    prefix = fingerprint(dict(config))
    encoder = msgspec.json.Encoder(order="sorted")
    prints = row_texts(rows, lambda row: fingerprint(f"{prefix} {encoder.encode(row).decode()}"))
    return rows.with_columns(prints.alias(FINGERPRINT))
