"""How fast an Animl export becomes checked tables, classification_ds.csv and label_index.json, and in how much memory.

    uv run python benchmarks/ingest.py [--images 10000 100000 1000000] [--no-baseline] [--profile]

The export is generated: Animl's layout since 2025-05, indented by 4, 300 cameras, bursts of three, 60 labels, one box
in most images, two in some, `empty` in others. Both ways run in a process of their own on the same file:

- the old three steps, plain `json` and loops, written here from their description: cct_to_md, md_to_queried_images,
  and what create_classification_dataset does with the dictionaries (no crop is looked for, nothing is split);
- ours: what `trapline ingest` and `trapline dataset` do, from the same file to five checked tables in Parquet and the
  same two files. Between them the crop stage would cut pixels; here crops are only named, as in the old steps.

Seconds are wall-clock of the whole process, start-up included; memory is its peak resident set.
"""

import argparse
import csv
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

LABELS = ["empty", "person", "vehicle", *(f"species {n:02d}" for n in range(57))]
CAMERAS = 300
DATASET = "islands"


# ---- the export


def image_record(n: int) -> dict:
    camera = n // 3 % CAMERAS
    burst = n // 3 // CAMERAS
    taken = datetime(2023, 3, 1) + timedelta(minutes=7 * burst + camera % 7, seconds=n % 3)
    id = f"{n * 2654435761 % 2**64:016x}{n:016x}:{DATASET}"
    return {
        "id": id,
        "file_name": f"{DATASET}/x{camera:05d}/north_ridge_{camera:03d}/{id.replace(':', '-')}.jpg",
        "original_file_name": f"IMG_{n % 10000:04d}.JPG",
        "serving_bucket_key": f"original/{id}-original.jpg",
        "datetime": taken.strftime("%Y-%m-%dT%H:%M:%S.000-07:00"),
        "location": f"North Ridge {camera:03d}",
        "width": 2048,
        "height": 1536,
    }


def object_records(n: int, image: dict, chance: random.Random) -> list[dict]:
    label = min(int(chance.expovariate(0.08)), len(LABELS) - 1)
    number = 2 if n % 25 == 1 and label else 1
    found = []
    for k in range(number):
        box = [chance.randrange(1000), chance.randrange(800), chance.randrange(20, 900), chance.randrange(20, 700)]
        reviewed = n % 5 > 0
        found.append(
            {
                "id": f"{n:024x}:{k:024x}",
                "image_id": image["id"],
                "category_id": label,
                "sequence_level_annotation": False,
                "bbox": box if label else [0, 0, image["width"], image["height"]],
                "confidence": None if reviewed else round(chance.random(), 6),
                "validated": reviewed,
                "validated_by": f"{camera_reviewer(n)}" if reviewed else "Not Reviewed",
            }
        )
    return found


def camera_reviewer(n: int) -> str:
    return f"65c2f1d0a8e44f7d10be{n % 7:04x}"


def write_export(path: Path, n_images: int) -> None:
    """As json.dump(..., indent=4) would write it, record by record."""

    def block(records) -> str:
        texts = (json.dumps(record, indent=4).replace("\n", "\n        ") for record in records)
        return ",\n".join("        " + text for text in texts)

    chance = random.Random(7)
    with open(path, "w") as stream:
        stream.write('{\n    "images": [\n')
        for begin in range(0, n_images, 1000):
            stream.write((",\n" if begin else "") + block(image_record(n) for n in range(begin, begin + 1000)))
        stream.write('\n    ],\n    "annotations": [\n')
        for begin in range(0, n_images, 1000):
            records = (r for n in range(begin, begin + 1000) for r in object_records(n, image_record(n), chance))
            stream.write((",\n" if begin else "") + block(records))
        tail = {
            "categories": [{"id": n, "name": name} for n, name in enumerate(LABELS)],
            "info": {"version": "1.0", "description": DATASET, "year": 2025, "date_created": "2025-09-01T09:00:00Z"},
        }
        stream.write("\n    ],\n" + json.dumps(tail, indent=4).removeprefix("{\n") + "\n")


# ---- the old three steps


def old_steps(export: Path, folder: Path) -> None:
    begin = time.perf_counter()

    def lap(name: str) -> None:
        nonlocal begin
        print(f"    old {name:32} {time.perf_counter() - begin:7.1f} s", file=sys.stderr)
        begin = time.perf_counter()

    cct_to_md(export, folder / "md.json")
    lap("cct_to_md")
    md_to_queried_images(folder / "md.json", folder / "queried_images.json")
    lap("md_to_queried_images")
    create_classification_dataset(folder / "queried_images.json", folder)
    lap("create_classification_dataset")


def cct_to_md(source: Path, target: Path) -> None:
    with open(source) as stream:
        data = json.load(stream)
    objects_of: dict[str, list] = {}
    for item in data["annotations"]:
        objects_of.setdefault(item["image_id"], []).append(item)
    images = []
    for image in data["images"]:
        detections = []
        for item in objects_of.get(image["id"], []):
            x, y, w, h = item["bbox"]
            box = [x / image["width"], y / image["height"], w / image["width"], h / image["height"]]
            detections.append({"category": str(item["category_id"]), "conf": 1.0, "bbox": box})
        images.append(
            {
                "id": image["id"],
                "file": image["file_name"],
                "location": image["location"],
                "is_ground_truth": True,
                "max_detection_conf": 1.0,
                "detections": detections,
            }
        )
    names = {str(category["id"]): category["name"] for category in data["categories"]}
    result = {
        "info": {"format_version": 1.2, "detector": "cct_to_md"},
        "detection_categories": names,
        "classification_categories": {},
        "images": images,
    }
    with open(target, "w") as stream:
        json.dump(result, stream, indent=1)


def md_to_queried_images(source: Path, target: Path) -> None:
    with open(source) as stream:
        data = json.load(stream)
    names = data["detection_categories"]
    queried = {}
    for image in data["images"]:
        if len(image["detections"]) != 1:
            continue
        detection = image["detections"][0]
        label = names[detection["category"]]
        queried[f"{DATASET}/{image['file']}"] = {
            "dataset": DATASET,
            "location": image["location"],
            "class": label,
            "bbox": [{"category": "animal", "bbox": detection["bbox"]}],
            "label": [label],
        }
    with open(target, "w") as stream:
        json.dump(queried, stream, indent=1)


def create_classification_dataset(source: Path, folder: Path) -> None:
    with open(source) as stream:
        queried = json.load(stream)
    rows, labels = [], set()
    for path, entry in queried.items():
        for number, _ in enumerate(entry["bbox"]):
            label = ",".join(entry["label"])
            labels.update(entry["label"])
            name = f"{path}___crop{number:02d}.jpg"
            rows.append((name, entry["dataset"], entry["location"], entry["class"], 1.0, label))
    with open(folder / "classification_ds.csv", "w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(("path", "dataset", "location", "dataset_class", "confidence", "label"))
        table.writerows(rows)
    with open(folder / "label_index.json", "w") as stream:
        json.dump(dict(enumerate(sorted(labels))), stream, indent=1)


# ---- ours


def new_steps(export: Path, folder: Path) -> None:
    import polars as pl

    from trapline.core import schemas
    from trapline.core.config import DatasetConfig, IngestConfig
    from trapline.core.log import Log
    from trapline.formats import ms_classification
    from trapline.io import tables
    from trapline.stages.dataset import dataset, label_counts
    from trapline.stages.ingest import AnnotationFile, ingest

    log = Log()
    begin = time.perf_counter()

    def lap(name: str) -> None:
        nonlocal begin
        print(f"    new {name:32} {time.perf_counter() - begin:7.1f} s   {peak_mb():5,.0f} MB", file=sys.stderr)
        begin = time.perf_counter()

    found = ingest([AnnotationFile(DATASET, export)], IngestConfig(), log=log)
    lap("ingest")
    for name in ("images", "locations", "boxes", "labels"):
        tables.write(folder / f"{name}.parquet", getattr(found, name), schemas.TABLES[name])
    lap("tables, checked and written")
    crops = named_crops(found.images, found.boxes)
    lap("names of crops (no pixel)")
    nothing = pl.DataFrame(schema={"box_id": pl.String, "action": pl.String, "to": pl.String})
    examples = dataset(found.images, crops, found.labels, nothing, DatasetConfig(), log=log)
    tables.write(folder / "examples.parquet", examples, schemas.EXAMPLES)
    lap("dataset, examples written")
    confidence = ms_classification.confidence(crops, found.labels, found.boxes)
    ms_classification.write_dataset_csv(folder / "classification_ds.csv", examples, confidence)
    ms_classification.write_label_index(folder / "label_index.json", label_counts(examples)["label"].to_list())
    lap("classification_ds.csv, label index")
    for account in log.accounts:
        print(f"        {account}", file=sys.stderr)


def named_crops(images, boxes):
    """CROPS rows as of a project whose pictures are elsewhere: named as the crop stage names them, and nothing else."""
    import polars as pl

    from trapline.core import schemas

    named = boxes.select("box_id", "image_id").join(images.select("image_id", "dataset", "file_name"), on="image_id")
    named = named.sort("image_id", "box_id").with_row_index("row")
    begins = pl.col("image_id") != pl.col("image_id").shift(1, fill_value="")
    first = pl.when(begins).then("row").forward_fill()
    number = (pl.col("row") - first).cast(pl.String).str.zfill(2)
    named = named.with_columns(crop_id=pl.format("{}/{}___crop{}.jpg", "dataset", "file_name", number))
    silent = [name for name in schemas.CROPS.columns if name not in named.columns]
    named = named.with_columns(pl.lit(None).alias(name) for name in silent)
    crops = named.select(pl.col(name).cast(kind) for name, kind in schemas.CROPS.columns.items())
    return schemas.CROPS.check(crops.sort("crop_id"))  # as the stage's table is stored


def peak_mb() -> float:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


# ---- both in turn


def measure(what: str, export: Path, profile: bool = False) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds and peak MB of one way in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, *(["-m", "cProfile", "-s", "tottime"] if profile else []), __file__]
        begin = time.perf_counter()
        process = subprocess.Popen([*command, "--way", what, "--export", str(export), "--folder", folder])
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begin
        if status:
            sys.exit(f"{what} failed: {status}")
        lines = (Path(folder) / "classification_ds.csv").open()
        print(f"    {what}: {sum(1 for _ in lines) - 1:,} rows of classification_ds.csv", file=sys.stderr)
        return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", nargs="*", type=int, default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--no-baseline", action="store_true")
    parser.add_argument("--profile", action="store_true", help="profile ours instead of comparing")
    parser.add_argument("--exports", type=Path, help="folder to keep generated exports in, and to take them from")
    parser.add_argument("--way", help=argparse.SUPPRESS)
    parser.add_argument("--export", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    ways: dict[str, Callable[[Path, Path], None]] = {"old": old_steps, "new": new_steps}
    if args.way:
        ways[args.way](args.export, args.folder)
        return
    print("   images   export MB  |  old s  old CPU s  old peak MB  |  new s  new CPU s  new peak MB  |  old s / new s")
    with tempfile.TemporaryDirectory() as folder:
        kept = args.exports or Path(folder)
        for n_images in args.images:
            export = kept / f"export-{n_images}.json"
            if not export.exists():
                write_export(export, n_images)
            new = measure("new", export, args.profile)
            old = (float("nan"),) * 3 if args.no_baseline or args.profile else measure("old", export)
            print(
                f"{n_images:9,} {export.stat().st_size / 1e6:11,.1f}  | {old[0]:6.1f} {old[1]:10.1f} {old[2]:12,.0f}"
                f"  | {new[0]:6.1f} {new[1]:10.1f} {new[2]:12,.0f}  | {old[0] / new[0]:14.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
