"""The default engine: parts on this machine's threads, each committed the moment it is finished."""

import pickle
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

import polars as pl

from trapline.core.log import Log
from trapline.engine.apart import Apart, Died
from trapline.engine.mapping import Job, Piece, Together, Work, attempt
from trapline.io import places
from trapline.io.flights import Flights
from trapline.io.ledger import FINGERPRINT


class Local:
    """Threads of this process.

    What an earlier process died with is done first, in a process of its own: were it a picture that kills whoever
    reads it, trapline would die of it every time.
    """

    def run(self, job: Job) -> None:
        """As Engine.run; at most twice `job.workers` parts are in memory at a time."""
        flights = Flights(job.parts.beside or places.of(job.parts.folder).folder)
        left = flights.left()
        todo = job.todo
        if left:
            suspect = pl.col(FINGERPRINT).is_in(list(left))
            suspects = todo.filter(suspect)
            if suspects.height and _travels(job):
                _apart(job, suspects)
                todo = todo.filter(~suspect)
            flights.clear()
        _threads(job, job.pieces(todo), flights)

    def together(self, call: Together, log: Log) -> None:
        """As Engine.together: this process is the only one."""


LOCAL = Local()


def _travels(job: Job) -> bool:
    """Whether the work can be made in another process; a caller's own function may not."""
    try:
        pickle.dumps(job.make)
        return True
    except Exception:  # pickle has no common type for what it cannot do
        return False


def _apart(job: Job, suspects: pl.DataFrame) -> None:
    """Do rows in another process; those that kill it are failures in the end."""
    job.log.note(
        f"an earlier run ended while it worked on {suspects.height:,} rows: these are done first, in a process apart"
    )
    child = Apart(job.make)
    try:
        waiting = list(job.pieces(suspects))
        while waiting:
            piece = waiting.pop(0)
            try:
                job.settle(piece, child(piece.rows))
            except Died as died:
                again = piece.after_death()
                waiting = again + waiting
                if again:
                    continue
                job.give_up(piece, str(died))
            job.advance(piece.rows.height)
    finally:
        child.close()


def _threads(job: Job, pieces: Iterator[Piece], flights: Flights) -> None:
    work: Work | None = None

    def run(piece: Piece) -> int:
        assert work is not None
        with flights.aloft(piece.rows[FINGERPRINT].to_list()):
            job.settle(piece, attempt(work, piece.rows))
        return piece.rows.height

    running: set[Future[int]] = set()

    def collect() -> None:
        """Take in whatever has finished; a part's error ends the stage, the parts committed before it stay."""
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            running.remove(future)
            job.advance(future.result())

    with ThreadPoolExecutor(max(job.workers, 1)) as pool:
        try:
            for piece in pieces:
                work = work or job.make()
                running.add(pool.submit(run, piece))
                if len(running) >= 2 * job.workers:
                    collect()
            while running:
                collect()
        except BaseException:
            if work is not None:
                work.stop()
            pool.shutdown(wait=True, cancel_futures=True)
            raise
