"""The default engine: parts on this machine's threads, each committed the moment it is finished."""

from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

import msgspec
import polars as pl

from trapline.core.log import Log
from trapline.io.ledger import FINGERPRINT, Parts, fingerprint


class PartlyDone(Exception):
    """Raised by a part's function that has to end before all of its rows are done: the rows that are get committed.

    Args:
        rows: Output rows of what is done.
        reason: What ends the stage; raised in its turn.
    """

    def __init__(self, rows: pl.DataFrame, reason: BaseException):
        super().__init__(str(reason))
        self.rows = rows
        self.reason = reason


def map_rows(
    fn: Callable[[pl.DataFrame], pl.DataFrame],
    rows: pl.DataFrame,
    *,
    key: str,
    config: Mapping[str, object],
    parts: Parts,
    part_rows: int,
    log: Log,
    what: str,
    workers: int = 1,
    still_good: Callable[[pl.DataFrame], pl.Series] | None = None,
    stop: Callable[[], None] | None = None,
) -> pl.DataFrame:
    """Run `fn` over the rows that are not done yet, part by part, and return the outputs of all rows.

    Args:
        fn: Takes some of `rows`, returns output rows that carry `key`; any number of them per input row. A row that
            it leaves out is not done, and its turn comes again with the next call. May raise PartlyDone.
        rows: One row per unit of work. Everything in a row is part of its fingerprint.
        key: Column that names a row, unique.
        config: JSON-able settings that change the output, the stage's integer VERSION among them.
        parts: Where finished parts are committed.
        part_rows: Rows per part: what a kill can cost, per worker.
        what: What is being done, for the progress bar ("crops made").
        workers: Threads; `fn` must release the GIL to gain from them.
        still_good: Given committed output rows, says which still stand (their files exist). A row of which any
            output does not is run again.
        stop: Called once when the work is broken off (an error, an interrupt), before its workers are waited for; makes
            `fn` end soon.

    Returns:
        Output rows in the order of `rows`, without the ledger's own column.
    """
    rows = with_fingerprints(rows, config)
    done = parts.read(rows.select(key, FINGERPRINT))
    if done is not None and still_good is not None:
        lost = done.filter(~still_good(done)).select(key).unique()
        done = done.join(lost, on=key, how="anti")
    todo = rows if done is None else rows.join(done.select(key).unique(), on=key, how="anti", maintain_order="left")
    outputs = [] if done is None or not done.height else [done]
    if todo.height and still_good is not None:
        # What these rows were made into under other settings is about to be overwritten. Were that remembered, a
        # kill and a return to those settings would take the new files for the old ones.
        parts.forget(pl.col(key).is_in(todo[key].to_list()))
    if todo.height:
        outputs += _run(fn, todo, key, parts, part_rows, log, what, workers, stop or _nothing)
    if not outputs:
        return fn(rows.drop(FINGERPRINT).clear())
    place = rows.select(key).with_row_index("_place")
    table = pl.concat(outputs, how="vertical").unique(maintain_order=True)
    table = table.join(place, on=key, how="left").sort("_place", maintain_order=True).drop("_place")
    parts.settle(table)
    return table.drop(FINGERPRINT)


def with_fingerprints(rows: pl.DataFrame, config: Mapping[str, object]) -> pl.DataFrame:
    """`rows` plus the fingerprint of each: of the row's values and of the config."""
    prefix = fingerprint(dict(config))
    encoder = msgspec.json.Encoder(order="sorted")
    prints = [fingerprint(f"{prefix} {encoder.encode(row).decode()}") for row in rows.iter_rows(named=True)]
    return rows.with_columns(pl.Series(FINGERPRINT, prints, dtype=pl.String))


def _run(
    fn: Callable[[pl.DataFrame], pl.DataFrame],
    todo: pl.DataFrame,
    key: str,
    parts: Parts,
    part_rows: int,
    log: Log,
    what: str,
    workers: int,
    stop: Callable[[], None],
) -> list[pl.DataFrame]:
    """Run and commit the parts of `todo`; at most twice `workers` parts are in memory at a time."""

    def work(part: pl.DataFrame) -> tuple[int, pl.DataFrame]:
        def commit(output: pl.DataFrame) -> pl.DataFrame:
            output = output.join(part.select(key, FINGERPRINT), on=key, how="left")
            if output.height:
                parts.commit(output)
            return output

        try:
            return part.height, commit(fn(part.drop(FINGERPRINT)))
        except PartlyDone as partly:
            commit(partly.rows)
            raise partly.reason from None

    waiting = (todo.slice(start, part_rows) for start in range(0, todo.height, part_rows))
    running: set[Future[tuple[int, pl.DataFrame]]] = set()
    outputs: dict[int, pl.DataFrame] = {}
    order: dict[Future[tuple[int, pl.DataFrame]], int] = {}
    with log.progress(what, todo.height) as advance, ThreadPoolExecutor(max(workers, 1)) as pool:
        try:
            for number, part in enumerate(waiting):
                future = pool.submit(work, part)
                order[future] = number
                running.add(future)
                if len(running) >= 2 * workers:
                    running = _collect(running, order, outputs, advance)
            while running:
                running = _collect(running, order, outputs, advance)
        except BaseException:
            stop()
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return [outputs[number] for number in sorted(outputs)]


def _nothing() -> None:
    """Stops nothing: the parts at work are waited for."""


def _collect(running, order, outputs, advance):
    """Take in whatever has finished; a part's error ends the stage, the parts committed before it stay."""
    finished, still = wait(running, return_when=FIRST_COMPLETED)
    for future in finished:
        rows, output = future.result()
        outputs[order.pop(future)] = output
        advance(rows)
    return still
