"""Works of engines that other processes can make: they are found by this module's name."""

import os
import signal
import time
from pathlib import Path

import polars as pl

from trapline.core.log import Log
from trapline.engine.mapping import Work, map_rows
from trapline.io.ledger import Parts
from trapline.stages import crop as crop_stage


class Doubling(Work):
    """Doubles numbers. Of some names its process dies: of `deadly` always, of `once` the first time."""

    def __init__(self, seen: Path, deadly: str = "", once: str = "", slow_s: float = 0.0):
        self.seen, self.deadly, self.once, self.slow_s = seen, deadly, once, slow_s

    def __call__(self, rows):
        for name in rows["id"]:
            with open(self.seen / name, "a") as stream:
                stream.write(f"{os.getpid()}\n")
            if name == self.deadly or (name == self.once and len((self.seen / name).read_text().split()) == 1):
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(self.slow_s)
        return rows.select("id", twice=pl.col("number") * 2, failure=pl.lit(None, pl.String))

    def failed(self, rows, reason):
        return rows.select("id", twice=pl.lit(None, pl.Int64), failure=pl.lit(reason))


class Poisoned(crop_stage._Cropping):
    """Crops as ever; one image kills the process that reads it."""

    def __init__(self, poison, *args):
        super().__init__(*args)
        self.poison = poison

    def __call__(self, rows):
        if self.poison in rows["image_id"].to_list():
            os.kill(os.getpid(), signal.SIGSEGV)
        return super().__call__(rows)


class Telling(Work):
    """Says which process did each row, and which GPUs it may use."""

    def __call__(self, rows):
        time.sleep(0.05)
        return rows.select("id", process=pl.lit(os.getpid()), card=pl.lit(os.environ.get("CUDA_VISIBLE_DEVICES")))

    def failed(self, rows, reason):
        raise AssertionError(reason)


def numbers(n=12):
    return pl.DataFrame({"id": [f"r{i}" for i in range(n)], "number": range(n)})


def doubled(work, engine, folder, table=None, part_rows=4, log=None, gpu=False):
    """`map_rows` of a work over numbers, with the parts in `folder`."""
    return map_rows(
        work,
        numbers() if table is None else table,
        engine=engine,
        key="id",
        config={"version": 1},
        parts=Parts(folder / "parts"),
        part_rows=part_rows,
        log=log or Log(),
        what="numbers doubled",
        gpu=gpu,
    )
