"""The time and memory of `trapline inspect`, features apart, part by part, at 50,000 crops.

    uv run python benchmarks/inspection.py [--crops 50000] [--folder build/inspect]

Crops are pictures of 300 to 512 px with noise, 2,000 different ones under many names; features, bursts, places, splits
and hashes of frames are drawn. What is timed is the whole step, with files written. CPU seconds of two cores tell what
an idle machine would take where this one is busy: at best their half.
"""

import argparse
import os
import resource
import subprocess
import sys
import time
from collections import defaultdict
from datetime import datetime
from functools import wraps
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image

from trapline.core import schemas
from trapline.core.config import ProjectConfig
from trapline.core.issues import clocks, labels, neighbours, overlaps, pictures, shares
from trapline.core.log import Log
from trapline.io import tables
from trapline.io.layout import Layout
from trapline.io.ledger import Record, Records
from trapline.learn import unseen
from trapline.learn.rows import as_arrays
from trapline.report import inspection
from trapline.stages import inspect, leaks
from trapline.steps import inspecting
from trapline.steps.step import Context

LABELS, PLACES, BURST, WIDTH = 30, 200, 3, 1280
PICTURES = 2000
WRONG, COPIES = 0.03, 0.01


def picture(random: np.random.Generator, path: Path) -> None:
    """A crop: an animal-sized blob before a smooth and grainy scene."""
    side = int(random.integers(300, 513))
    coarse = random.integers(30, 220, (int(random.integers(4, 24)),) * 2 + (3,), dtype=np.uint8)
    scene = np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC), dtype=np.float32)
    scene = scene + random.normal(0, random.uniform(3, 14), (side, side, 1))
    Image.fromarray(scene.clip(0, 255).astype(np.uint8)).save(path, quality=90)


def draw(layout: Layout, n: int) -> None:
    """A project's crops and tables, as the stages before inspect would leave them."""
    random = np.random.default_rng(0)
    distinct = layout.root / "pictures"
    for folder in (distinct, layout.crops / "d", layout.records):
        folder.mkdir(parents=True, exist_ok=True)
    for k in range(min(PICTURES, n)):
        picture(random, distinct / f"{k}.jpg")
    ids = [f"d/{k:06}.jpg___crop00.jpg" for k in range(n)]
    for k, crop_id in enumerate(ids):
        os.link(distinct / f"{k % PICTURES}.jpg", layout.crops / crop_id)
    burst = np.arange(n) // BURST
    place = random.integers(0, PLACES, burst.max() + 1)[burst]
    frequency = 1 / np.arange(1, LABELS + 1)
    true = random.choice(LABELS, burst.max() + 1, p=frequency / frequency.sum())[burst]
    features = features_of(random, true, place, burst)
    copied = random.choice(n, (2, int(COPIES * n)), replace=False)
    features[copied[0]] = features[copied[1]]
    given = np.where(random.random(n) < WRONG, random.integers(0, LABELS, n), true)
    base = random.random((PLACES, 256)) < 0.5
    bits = base[place] ^ (random.random((n, 256)) < 0.04)
    bits[copied[0, ::2]] = bits[copied[1, ::2]]
    hashes = [row.tobytes().hex() for row in np.packbits(bits, axis=1)]
    named = pl.Series([f"P{k:03}" for k in place])
    times = pl.datetime_range(datetime(2024, 1, 1), datetime(2025, 1, 1), f"{31_536_000_000 // n}ms", eager=True)[:n]
    examples = pl.DataFrame(
        {
            "crop_id": ids,
            "labels": [[f"species {k:02}"] for k in given],
            "image_id": [f"d/{k}" for k in range(n)],
            "dataset": "d",
            "location_id": named,
            "group_id": named,
            "sequence_id": [f"s{k}" for k in burst],
            "captured_at": times,
            "weight": 1.0,
            "heldback": False,
        }
    )
    crops = examples.select("crop_id", "image_id", box_id="image_id", path="crop_id", frame_hash=pl.Series(hashes))
    crops = crops.with_columns(pl.lit(400).alias("width_px"), pl.lit(400).alias("height_px"))
    boxes = examples.select("image_id", box_id="image_id", box_x=0.1, box_y=0.1, box_w=0.4, box_h=0.4)
    names = [f"P{k:03}" for k in range(PLACES)]
    split = np.select([np.arange(PLACES) % 10 < 6, np.arange(PLACES) % 10 < 8], ["train", "val"], "test")
    splits = pl.DataFrame({"group_id": names, "split": split})
    embeddings = pl.DataFrame({"crop_id": ids, "model": "drawn", "embedding": as_arrays(features, WIDTH)})
    for name, frame in {"examples": examples, "crops": crops, "boxes": boxes, "splits": splits}.items():
        empty = getattr(schemas, name.upper()).empty()
        whole = pl.concat([empty, frame], how="diagonal_relaxed").select(empty.columns)
        tables.save(layout.table(name), whole)
    tables.save(layout.table("embeddings"), embeddings)
    fractions: dict[str, object] = {"val_frac": 0.2, "test_frac": 0.2, "folds": 0}
    Records(layout.records).write(Record(stage="split", version=1, inputs={}, config=fractions))


def features_of(random: np.random.Generator, label: np.ndarray, place: np.ndarray, burst: np.ndarray) -> np.ndarray:
    """Features clustered by label and by place, frames of a burst alike; never negative, as a backbone's are."""
    found = random.normal(0, 0.7, (LABELS, WIDTH)).astype(np.float32)[label]
    for numbers, spread in ((place, 0.7), (burst, 0.5), (np.arange(len(label)), 0.35)):
        found += random.normal(0, spread, (numbers.max() + 1, WIDTH)).astype(np.float32)[numbers]
    return np.maximum(found, 0)


SPENT: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
PARTS = (
    ("leaks.twins", leaks, "twins"),
    ("measures", inspect, "measures"),
    ("probe", unseen, "probabilities"),
    ("likely wrong", labels, "likely_wrong"),
    ("copies", inspect, "copies"),
    ("near-duplicates", neighbours, "near_duplicates"),
    ("copied frames", neighbours, "copied_frames"),
    ("outliers", neighbours, "outliers"),
    ("poor", pictures, "poor"),
    ("overlapping", overlaps, "overlapping"),
    ("impossible times", clocks, "impossible"),
    ("dominated", shares, "dominated"),
    ("page", inspection, "page"),
)


def watch(name: str, module: object, function: str) -> None:
    """Add up a function's wall and CPU seconds under `name`."""
    inner = getattr(module, function)

    @wraps(inner)
    def watched(*args, **kwargs):
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            return inner(*args, **kwargs)
        finally:
            SPENT[name][0] += time.perf_counter() - wall
            SPENT[name][1] += time.process_time() - cpu

    setattr(module, function, watched)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--crops", type=int, default=50_000)
    parser.add_argument("--folder", type=Path, default=Path("build/inspect"))
    parser.add_argument("--draw", action="store_true", help="only draw the project")
    options = parser.parse_args()
    layout = Layout((options.folder / str(options.crops)).resolve())
    if options.draw:
        draw(layout, options.crops)
        return
    if not layout.records.exists():  # in a process of its own, whose memory does not count
        subprocess.run([sys.executable, *sys.argv, "--draw"], check=True)
    for part in layout.parts("inspect").glob("part-*"):
        part.unlink()
    for name, module, function in PARTS:
        watch(name, module, function)
    context = Context(layout, ProjectConfig.model_validate({"datasets": {"d": {"annotations": ["a.json"]}}}),
                      Records(layout.records))  # fmt: skip
    wall, cpu = time.perf_counter(), time.process_time()
    found = inspecting.inspect(context, labels.MARGIN, Log())
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    for name, spent in sorted(SPENT.items(), key=lambda item: -item[1][0]):
        print(f"{name:18} {spent[0]:7.1f} s, CPU {spent[1]:7.1f} s")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{'all':18} {wall:7.1f} s, CPU {cpu:7.1f} s = {cpu / 2:.0f} s on two idle cores; peak {peak:.2f} GiB")
    print(f"inspect.html {layout.inspect_page.stat().st_size / 1e6:.1f} MB")
    print(found.group_by("kind", maintain_order=True).len())


if __name__ == "__main__":
    main()
