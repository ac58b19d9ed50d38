"""The crop stage against a plain baseline, in one run, on the same images and cores.

    uv run python benchmarks/crop.py [--images 240] [--memory]

Camera-trap frames of 2 to 12 MP are laid out of the real ones beside the checkout (mirrored, with their own noise,
quantisation and colour subsampling), or drawn where there are none. The baseline does what the old script does, with
Pillow on as many threads: decode everything, crop, save at quality 75. Each measurement is a process of its own.
`--memory`: peak memory with an image of 12 MP and 1,000 boxes, and with up to 50,000 rows.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import polars as pl
import simplejpeg
from PIL import Image, ImageOps, JpegImagePlugin

from trapline.core import geometry, schemas
from trapline.core.config import CropConfig
from trapline.core.log import Log
from trapline.io.ledger import Parts
from trapline.stages.crop import crop, units

DATA = Path(__file__).parents[1] / ".." / "shared" / "data"
REAL = ("burrowing_owl", "jaguar", "nasty")
IMAGES = 240
MEGAPIXELS = (2.1, 2.1, 3.1, 3.1, 4.0, 5.0, 5.0, 8.0, 12.0)
CORES = 2
REPEATS = 3


# -- what is cropped ----------------------------------------------------------------------------------------------


def real_frames() -> list[Path]:
    """Whole colour frames of real cameras."""
    found = [path for name in REAL if (DATA / name).is_dir() for path in sorted((DATA / name).iterdir())]
    return [p for p in found if p.suffix.lower() == ".jpg" and "truncated" not in p.name and "cmyk" not in p.name]


def drawn_frame(path: Path, seed: int) -> Path:
    """A frame to lay out where there are no real ones: a landscape of smooth patches under a sensor's noise."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(30, 220, (24, 32, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((2048, 1536), Image.Resampling.BICUBIC), float)
    noisy = smooth + rng.normal(0, 8, smooth.shape[:2])[..., None]
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path, quality=88, subsampling=2)
    return path


def lay_out(source: Path, path: Path, width: int, height: int) -> None:
    """Fill a frame with mirrored copies of a real one, stored as the camera stored it."""
    with Image.open(source) as image:
        tables, sampling = image.quantization, JpegImagePlugin.get_sampling(image)  # type: ignore[attr-defined]
        base = image.convert("RGB")
    sheet = Image.new("RGB", (width, height))
    for row, y in enumerate(range(0, height, base.height)):
        for column, x in enumerate(range(0, width, base.width)):
            tile = ImageOps.flip(base) if row % 2 else base
            sheet.paste(ImageOps.mirror(tile) if column % 2 else tile, (x, y))
    two = {number: tables[min(number, len(tables) - 1)] for number in (0, 1)}
    sheet.save(path, qtables=two, subsampling=max(sampling, 0))


def make_images(folder: Path, count: int = IMAGES) -> pl.DataFrame:
    """Frames and their boxes: file, width, height, x, y, w, h in pixels."""
    chance = random.Random(0)
    sources = real_frames() or [drawn_frame(folder / f"drawn{n}.png.jpg", n) for n in range(6)]
    rows = []
    for number in range(count):
        width = round((chance.choice(MEGAPIXELS) * 1e6 * 4 / 3) ** 0.5 / 16) * 16
        height = width * 3 // 4
        name = f"frame{number:03d}.jpg"
        lay_out(sources[number % len(sources)], folder / name, width, height)
        for _ in range(chance.choice([1, 1, 1, 1, 1, 2, 2, 3, 4])):
            h = min(0.9, chance.lognormvariate(-1.8, 0.6)) * height  # median 17% of the frame's height
            w = min(0.9 * width, h * chance.uniform(0.6, 1.8))
            bottom = max(h, chance.uniform(0.35, 0.8) * height)
            rows.append((name, width, height, chance.uniform(0, width - w), bottom - h, w, h))
    return pl.DataFrame(rows, schema=["file", "width", "height", "x", "y", "w", "h"], orient="row")


def tables_of(boxes: pl.DataFrame, folder: Path) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """IMAGES, FILES and BOXES rows."""
    named = boxes.with_columns(image_id=pl.format("bench/{}", "file"))
    once = named.unique("image_id", maintain_order=True)
    images = once.select("image_id", dataset=pl.lit("bench"), file_name="file", width_px="width", height_px="height")
    files = once.select("image_id", path=pl.format("{}/{}", pl.lit(str(folder)), "file"), checksum=pl.lit("same"))
    found = named.with_row_index("n").select(
        "image_id", box_id=pl.format("bench/{}", pl.col("n").cast(pl.String).str.zfill(7)),
        box_x="x", box_y="y", box_w="w", box_h="h",
        unit=pl.lit("px"), frame=pl.lit("displayed"), source=pl.lit("human"),
    )  # fmt: skip

    def fill(frame: pl.DataFrame, schema: schemas.Schema) -> pl.DataFrame:
        return pl.concat([schema.empty(), frame.cast({n: schema.columns[n] for n in frame.columns})], how="diagonal")

    return fill(images, schemas.IMAGES), fill(files, schemas.FILES), fill(found, schemas.BOXES)


# -- what is measured ---------------------------------------------------------------------------------------------


def alone(boxes: pl.DataFrame, folder: Path, out: Path, max_size: int) -> None:
    """The crop stage as `trapline crop --detections` uses it, which needs no hash of frames."""
    ours(boxes, folder, out, max_size, hash_frames=False)


def ours(boxes: pl.DataFrame, folder: Path, out: Path, max_size: int, hash_frames: bool = True) -> None:
    """The crop stage, its ledger and its tables included."""
    images, files, found = tables_of(boxes, folder)
    crops = crop(
        units(images, files, found), CropConfig(max_size=max_size),
        crops_dir=out / "crops", root=out, parts=Parts(out / "parts"), workers=CORES, log=Log(),
        hash_frames=hash_frames,
    )  # fmt: skip
    assert crops["failure"].null_count() == boxes.height


def old_script(boxes: pl.DataFrame, folder: Path, out: Path, max_size: int) -> None:
    """Decode everything with Pillow, crop, save at Pillow's default quality; the windows are ours."""
    del max_size

    def one(rows: pl.DataFrame) -> None:
        with Image.open(folder / rows["file"][0]) as image:
            image.load()
            for number, (_, width, height, x, y, w, h) in enumerate(rows.iter_rows()):
                place = geometry.ResolvedBox(x / width, y / height, w / width, h / height)
                window = geometry.crop_window(place, width, height)
                image.crop(window).save(out / f"{rows['file'][0]}___crop{number:02d}.jpg", "JPEG", quality=75)

    with ThreadPoolExecutor(CORES) as pool:
        list(pool.map(one, boxes.partition_by("file", maintain_order=True)))


def decode_whole(boxes: pl.DataFrame, folder: Path, out: Path, max_size: int) -> None:
    """Nothing but decoding the same files whole with simplejpeg."""
    del out, max_size
    with ThreadPoolExecutor(CORES) as pool:
        list(pool.map(lambda name: simplejpeg.decode_jpeg((folder / name).read_bytes()).shape, boxes["file"].unique()))


WORK = {"old": old_script, "whole": decode_whole, "ours": ours, "alone": alone}


def measure(what: str, boxes: Path, folder: Path, max_size: int = 512) -> dict[str, float]:
    """CPU and wall seconds of the work alone, and the process's peak memory in MB, start-up included."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as out:
        command = [sys.executable, __file__, "--work", what, str(boxes), str(folder), out, str(max_size)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def work(what: str, boxes: str, folder: str, out: str, max_size: str) -> None:
    """The measured process: does it once and prints what it took."""
    table = pl.read_parquet(boxes)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    cpu, wall = time.process_time(), time.monotonic()
    WORK[what](table, Path(folder), Path(out), int(max_size))
    cpu, wall = time.process_time() - cpu, time.monotonic() - wall
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"cpu": cpu, "wall": wall, "peak_mb": peak}))


def speed(folder: Path, count: int) -> None:
    """The table of ratios."""
    boxes = make_images(folder, count)
    boxes.write_parquet(folder.parent / "boxes.parquet")
    sizes = boxes.unique("file")
    total = float((sizes["width"] * sizes["height"]).sum()) / 1e6
    lowest = 0.0
    for rows in boxes.partition_by("file"):
        _, width, height, *_ = rows.row(0)
        places = [geometry.ResolvedBox(x / width, y / height, w / width, h / height) for *_, x, y, w, h in rows.rows()]
        lowest += width * max(geometry.shown_part(place, width, height)[3] for place in places) / 1e6
    print(
        f"{count} images, {total:.0f} MP, {lowest:.0f} MP down to the lowest crop, {boxes.height} crops, {CORES} cores"
    )
    runs: dict[str, list[dict[str, float]]] = {}
    for _ in range(REPEATS):  # in turns, so that a slow minute hits all alike
        for name, what, max_size in (
            ("old script (Pillow, 2 threads)", "old", 0),
            ("decode whole (simplejpeg)", "whole", 0),
            ("crop --detections --max-size 0", "alone", 0),
            ("crop --detections (512)", "alone", 512),
            ("crop --max-size 0", "ours", 0),
            ("crop (512)", "ours", 512),
        ):
            runs.setdefault(name, []).append(measure(what, folder.parent / "boxes.parquet", folder, max_size))
    old, whole = (runs[name] for name in list(runs)[:2])
    print(f"{'':32} {'CPU s':>7} {'of old':>7} {'wall s':>7} {'of whole':>8} {'peak MB':>8}")
    for name, found in runs.items():
        share = np.median([a["cpu"] / b["cpu"] for a, b in zip(found, old, strict=True)])
        pace = np.median([a["wall"] / b["wall"] for a, b in zip(found, whole, strict=True)])
        cpu, wall = (np.median([run[key] for run in found]) for key in ("cpu", "wall"))
        print(f"{name:32} {cpu:7.2f} {share:7.2f} {wall:7.2f} {pace:8.2f} {max(r['peak_mb'] for r in found):8.0f}")


def memory(folder: Path) -> None:
    """Peak memory, start-up included, where there are many boxes or many rows."""
    base = real_frames() or [drawn_frame(folder / "drawn.jpg", 0)]
    lay_out(base[0], folder / "large.jpg", 4000, 3000)
    chance = random.Random(1)
    many = [
        ("large.jpg", 4000, 3000, chance.uniform(0, 3000), chance.uniform(0, 2000), 900.0, 900.0) for _ in range(1000)
    ]
    columns = ["file", "width", "height", "x", "y", "w", "h"]
    print(f"{'':32} {'peak MB':>8}")
    for name, rows in {"12 MP, 1,000 boxes": many}.items():
        pl.DataFrame(rows, schema=columns, orient="row").write_parquet(folder.parent / "boxes.parquet")
        print(f"{name:32} {measure('ours', folder.parent / 'boxes.parquet', folder)['peak_mb']:8.0f}")
    lay_out(base[0], folder / "small.jpg", 160, 120)
    for count in (500, 5_000, 50_000):
        for number in range(count):
            link = folder / f"s{number:05d}.jpg"
            if not link.exists():
                os.link(folder / "small.jpg", link)
        rows = [(f"s{n:05d}.jpg", 160, 120, 10.0, 10.0, 40.0, 30.0) for n in range(count)]
        pl.DataFrame(rows, schema=columns, orient="row").write_parquet(folder.parent / "boxes.parquet")
        print(f"{count:6,} images{'':19} {measure('ours', folder.parent / 'boxes.parquet', folder)['peak_mb']:8.0f}")


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--work", nargs=5, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work(*arguments.work)
        return
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "images"
        folder.mkdir()
        if arguments.memory:
            memory(folder)
        else:
            speed(folder, arguments.images)


if __name__ == "__main__":
    main()
