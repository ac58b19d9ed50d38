"""What Ray costs on one machine with equal cores, beside the local engine.

uv run python benchmarks/ray_cost.py crop [--images 5000] [--source FOLDER]     # real frames, cropped by both, by turns
uv run python benchmarks/ray_cost.py small [--rows 1000 10000 100000]        # the same of small drawn frames
uv run python benchmarks/ray_cost.py overhead [--rows 1000 10000 100000]        # work that takes no time
uv run python benchmarks/ray_cost.py memory [--rows 1000000]                    # of the driver
"""

import argparse
import os
import resource
import shutil
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image

from trapline.core import cores, schemas
from trapline.core.config import CropConfig
from trapline.core.log import Log
from trapline.engine.local import LOCAL
from trapline.engine.mapping import Engine, Work, map_rows
from trapline.engine.ray import Ray, connect
from trapline.io.ledger import Parts
from trapline.stages import crop as crop_stage
from trapline.stages.crop import crop, units

SOURCE = Path(__file__).parents[1] / ".." / "shared" / "data" / "semireal" / "images"
PART_ROWS = 64
ENGINES: dict[str, Engine] = {"local": LOCAL, "ray": Ray("local")}
SIZES = [1_000, 10_000, 100_000]


class Nothing(Work):
    """Takes no time."""

    def __call__(self, rows: pl.DataFrame) -> pl.DataFrame:
        return rows.select("id", seen=pl.lit(True))

    def failed(self, rows: pl.DataFrame, reason: str) -> pl.DataFrame:
        return rows.select("id", seen=pl.lit(False))


class Uncropped(Work):
    """Crops of no time: the rows that crop would return."""

    def __init__(self, *told: object):
        del told

    def __call__(self, rows: pl.DataFrame) -> pl.DataFrame:
        return self.failed(rows, "not read")

    def failed(self, rows: pl.DataFrame, reason: str) -> pl.DataFrame:
        boxes = rows.select("image_id", "boxes").explode("boxes").unnest("boxes")
        made = boxes.select("crop_id", "box_id", "image_id", failure=pl.lit(reason))
        return pl.concat([schemas.CROPS.empty(), made], how="diagonal")


def tables_of(chosen: list[str]) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """IMAGES, FILES and BOXES of frames, one box each."""
    names = [f"i{n:07d}" for n in range(len(chosen))]
    listed = pl.DataFrame({"image_id": names, "dataset": "b", "file_name": [f"{name}.jpg" for name in names]})
    files = pl.DataFrame({"image_id": names, "path": chosen, "checksum": names})
    boxes = pl.DataFrame({"image_id": names, "box_id": names}).with_columns(
        box_x=0.2, box_y=0.3, box_w=0.4, box_h=0.4, conf=1.0, unit=pl.lit("fraction"), frame=pl.lit("displayed"),
        source=pl.lit("human"),
    )  # fmt: skip
    return (
        pl.concat([schemas.IMAGES.empty(), listed], how="diagonal"),
        pl.concat([schemas.FILES.empty(), files], how="diagonal"),
        pl.concat([schemas.BOXES.empty(), boxes], how="diagonal"),
    )


def crop_both(frames: list[Path], images: int) -> None:
    """Crop the same frames with both engines, twice, the second turn the other way round; processes and libraries are
    there before."""
    connect("local")
    for engine in ENGINES.values():
        crop_once(frames[:128], engine)
    chosen = [frames[n % len(frames)] for n in range(images)]
    found: dict[str, list[float]] = {"local": [], "ray": []}
    for turn in (("local", "ray"), ("ray", "local")):
        for name in turn:
            found[name].append(crop_once(chosen, ENGINES[name]))
    ratios = [ours / theirs for ours, theirs in zip(found["ray"], found["local"], strict=True)]
    for name, seconds in found.items():
        print(f"{images:,} images, {name}: {', '.join(f'{s:.1f} s ({s / images * 1e6:.0f} us each)' for s in seconds)}")
    print(f"  ray / local: {', '.join(f'{ratio:.2f}' for ratio in ratios)}", flush=True)


def crop_once(frames: list[Path], engine: Engine) -> float:
    """Seconds of cropping frames."""
    tables = tables_of([path.as_posix() for path in frames])
    with tempfile.TemporaryDirectory() as name:
        folder, begin = Path(name), time.perf_counter()
        crop(
            units(*tables), CropConfig(), crops_dir=folder / "crops", root=Path(), parts=Parts(folder / "parts"),
            workers=cores.usable_cores(), log=Log(), engine=engine,
        )  # fmt: skip
        return time.perf_counter() - begin


def draw_small(folder: Path) -> list[Path]:
    """A thousand frames of 96 x 72 pixels."""
    random = np.random.default_rng(0)
    for n in range(1000):
        coarse = random.integers(0, 255, (9, 12, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((96, 72), Image.Resampling.BICUBIC).save(folder / f"{n:04d}.jpg", quality=90)
    return sorted(folder.iterdir())


def run_nothing(rows: int, engine: object) -> float:
    """Seconds of `rows` rows of no work."""
    table = pl.DataFrame({"id": [f"i{n:07d}" for n in range(rows)]})
    folder = Path(tempfile.mkdtemp())
    begin = time.perf_counter()
    map_rows(
        partial(Nothing), table, engine=engine, key="id", config={}, parts=Parts(folder), part_rows=PART_ROWS,  # type: ignore[arg-type]
        log=Log(), what="nothing", workers=cores.usable_cores(),
    )  # fmt: skip
    seconds = time.perf_counter() - begin
    shutil.rmtree(folder)
    return seconds


def overhead(sizes: list[int]) -> None:
    """Microseconds per row of no work, with both engines."""
    connect("local")
    run_nothing(1000, Ray("local"))  # starts the workers
    for rows in sizes:
        local, ray = run_nothing(rows, LOCAL), run_nothing(rows, Ray("local"))
        print(f"{rows:,} rows: local {local / rows * 1e6:.0f} us a row, ray {ray / rows * 1e6:.0f} us", flush=True)


def memory(rows: int) -> None:
    """The driver's greatest memory over a run of crop in which cropping takes no time."""
    crop_stage._Cropping = Uncropped
    connect("local")
    begin = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    folder, start, start_cpu = Path(tempfile.mkdtemp()), time.perf_counter(), time.process_time()
    crop(
        units(*tables_of([f"images/i{n:07d}.jpg" for n in range(rows)])), CropConfig(), crops_dir=folder, root=folder,
        parts=Parts(folder / "parts"), workers=1, log=Log(), engine=Ray("local"),
    )  # fmt: skip
    seconds, cpu_s = time.perf_counter() - start, time.process_time() - start_cpu
    shutil.rmtree(folder)
    end = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"{rows:,} rows in {seconds:.0f} s, {cpu_s / rows * 1e6:.0f} us of the driver's CPU each; its memory: "
        f"{begin / 1e3:.0f} MB before, {end / 1e3:.0f} at most"
    )


def main() -> None:
    """Run one of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["crop", "small", "overhead", "memory"])
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--source", type=Path, default=SOURCE)
    parser.add_argument("--rows", type=int, nargs="+")
    given = parser.parse_args()
    os.environ.pop("RAY_ADDRESS", None)
    if given.what == "crop":
        crop_both(sorted(given.source.resolve().rglob("*.jpg")), given.images)
    elif given.what == "small":
        with tempfile.TemporaryDirectory() as folder:
            frames = draw_small(Path(folder))
            for rows in given.rows or SIZES:
                crop_both(frames, rows)
    elif given.what == "overhead":
        overhead(given.rows or SIZES)
    else:
        memory((given.rows or [1_000_000])[0])


if __name__ == "__main__":
    main()
