"""What an image costs each stage, for the table in trapline/core/scale/costs.py; and how far its model is off.

    uv run python benchmarks/scale.py                    # CPU seconds per image, megabyte, megapixel, box, crop, row
    uv run python benchmarks/scale.py --check 21000      # the model against a run of so many images

nginx (Debian: apt-get install nginx-light) on loopback is the store. Frames are laid out of the real ones beside the
checkout (benchmarks/crop.py), at 0.3, 1, 3 and 8 megapixels. The run to check with is of the semi-real frames there,
640 x 480, under as many names as are asked for: other pictures, and boxes of other sizes. Every measurement is a
process of its own and counts its CPU seconds, threads included, since other work may be on the machine.
"""

import argparse
import json
import os
import platform
import random
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.optimize import nnls

import crop as frames
import fetch as served

FETCHED = 1000  # images of each size
SIZES = {"tiny": (640, 480), "small": (1152, 864), "middle": (2048, 1536), "large": (3264, 2448)}
STORED = "far"


# -- what is measured ------------------------------------------------------------------------------------------------


def timed(run: Callable[[], object]) -> dict[str, float]:
    """CPU and wall seconds of a call, and its peak memory."""
    before, begin = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    run()
    wall, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"cpu_s": cpu, "wall_s": wall, "peak_mb": after.ru_maxrss / 1024}


def tables_of(job: dict):
    """IMAGES and BOXES rows of a job: `names` of images of `width` x `height`, `boxes` in each."""
    import polars as pl

    from trapline.core.schemas import BOXES, IMAGES

    chance = random.Random(0)
    side = min(job.get("box_px", 0), job["height"] - 2)
    images, boxes = [], []
    for number, name in enumerate(job["names"]):
        images.append(
            {"image_id": name, "dataset": STORED, "file_name": name}
            | {"width_px": job["width"], "height_px": job["height"]}
        )
        given = job.get("given")
        for k, spot in enumerate(given[number % len(given)] if given else [None] * job["boxes"]):
            x, y = chance.uniform(0, job["width"] - side), chance.uniform(0, job["height"] - side)
            x, y, w, h = spot or (x, y, side, side)
            boxes.append(
                {"box_id": f"{name}/{k}", "image_id": name, "box_x": x, "box_y": y, "box_w": w, "box_h": h}
                | {"unit": "px", "frame": "displayed", "source": "human"}
            )
    return pl.DataFrame(images, schema=IMAGES.columns), pl.DataFrame(boxes, schema=BOXES.columns)


def fetch(job: dict, out: Path) -> dict[str, float]:
    """The fetch stage, from the store to `out`."""
    from trapline.core.config import FetchConfig
    from trapline.core.log import Log
    from trapline.io.ledger import Parts
    from trapline.stages.fetch import fetch as stage

    images, _ = tables_of(job)
    cfg = FetchConfig(max_disk="1TB")
    return timed(
        lambda: stage(
            images, {STORED: Path("images")}, root=out, log=Log(), stores={STORED: job["url"]}, cfg=cfg,
            parts=Parts(out / "parts"),
        ).write_parquet(out / "files.parquet")
    )  # fmt: skip


def crop(job: dict, out: Path) -> dict[str, float]:
    """The crop stage: from files; or `streamed`; or of images that all `fail`, which leaves the driver alone."""
    import polars as pl

    from trapline.core.addresses import addresses
    from trapline.core.config import CropConfig, FetchConfig
    from trapline.core.log import Log
    from trapline.core.schemas import FILES
    from trapline.io import objects
    from trapline.io.ledger import Parts
    from trapline.stages.crop import crop as stage
    from trapline.stages.crop import units

    images, boxes = tables_of(job)
    named = images.select("image_id", checksum=pl.lit("same"))
    remote = reader = None
    if job["how"] == "streamed":
        store = objects.open_store(job["url"], FetchConfig())
        remote, reader = addresses(images, {STORED: job["url"]}, None), lambda _, key: store.read(key)
    elif job["how"] == "fail":
        named = named.with_columns(failure=pl.lit("not on disk"))
    else:
        named = named.with_columns(path=pl.format("{}/{}", pl.lit(job["folder"]), "image_id"))
    files = pl.concat([FILES.empty(), named], how="diagonal")
    cfg, workers = CropConfig(), job.get("workers", 2)

    def run(images: pl.DataFrame, place: Path) -> None:
        todo = units(images, files, boxes.join(images, on="image_id", how="semi"), remote=remote)
        stage(
            todo, cfg, crops_dir=place / "crops", root=place, parts=Parts(place / "parts"), workers=workers, log=Log(),
            read_remote=reader,
        ).write_parquet(out / "crops.parquet")  # fmt: skip

    run(images.head(8), out / "first")  # libraries are loaded
    found = timed(lambda: run(images, out))
    shutil.rmtree(out / "first")
    sizes = [path.stat().st_size for path in (out / "crops").rglob("*.jpg")]
    made = sorted(path.stat().st_mtime for path in (out / "parts").glob("*.parquet"))
    lengths = np.diff(made)
    spread = float(lengths.std() / lengths.mean()) if len(lengths) > 2 else 0.0
    return found | {"crops": len(sizes), "crop_bytes": float(np.mean(sizes or [0])), "spread": spread}


def read(job: dict, out: Path) -> dict[str, float]:
    """Reading objects into memory as a crop that streams does, 16 at a time."""
    from concurrent.futures import ThreadPoolExecutor

    from trapline.core.config import FetchConfig
    from trapline.io import objects

    del out
    store = objects.open_store(job["url"], FetchConfig())

    def all_of_them() -> None:
        with ThreadPoolExecutor(16) as pool:
            for size in pool.map(lambda name: len(store.read(name)), job["names"]):
                assert size

    return timed(all_of_them)


def load(job: dict, out: Path) -> dict[str, float]:
    """Reading crops from their files, and reducing them."""
    from trapline.learn.models import build, transform_of
    from trapline.learn.transforms import load_for_evaluation

    del out
    transform = transform_of(build("tf_efficientnet_lite0", 2, pretrained=False))
    paths = sorted(Path(job["folder"]).rglob("*.jpg"))
    load_for_evaluation(paths[0], transform)
    return timed(lambda: [load_for_evaluation(path, transform) for path in paths]) | {"crops": len(paths)}


def predict(job: dict, out: Path) -> dict[str, float]:
    """The predict stage, by a checkpoint of the default model."""
    import polars as pl

    from trapline.core.config import PredictConfig
    from trapline.core.log import Log
    from trapline.io.ledger import Parts
    from trapline.learn import checkpoint as checkpoints
    from trapline.learn.models import build, transform_of
    from trapline.stages.predict import predict as stage

    network = build("tf_efficientnet_lite0", 8, pretrained=False)
    known = checkpoints.Checkpoint(
        "tf_efficientnet_lite0", tuple("abcdefgh"), transform_of(network), network.state_dict()
    )
    checkpoints.save(out / "best.pt", known)
    folder = Path(job["folder"])
    found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.jpg"))
    ids = pl.DataFrame({"crop_id": found[: job.get("most")]})
    cfg = PredictConfig(device="cpu")
    return timed(
        lambda: stage(out / "best.pt", ids, cfg, crops_dir=folder, parts=Parts(out / "parts"), log=Log())
    ) | {"crops": ids.height}  # fmt: skip


def train(job: dict, out: Path) -> dict[str, float]:
    """Steps of the default model on 64 crops, forward and back, as the loop computes on a CPU."""
    import torch

    from trapline.learn.models import build

    del out
    network = build("tf_efficientnet_lite0", 8, pretrained=False).train()
    network = network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    images = torch.rand(64, 3, 224, 224).to(memory_format=torch.channels_last)
    labels = torch.randint(0, 8, (64,))

    def steps(n: int) -> None:
        for _ in range(n):
            torch.nn.functional.cross_entropy(network(images), labels).backward()
            optimizer.step()
            optimizer.zero_grad()

    steps(2)
    return timed(lambda: steps(job["steps"])) | {"crops": 64 * job["steps"]}


PIECES = {"fetch": fetch, "crop": crop, "read": read, "load": load, "predict": predict, "train": train}


# -- how it is measured ----------------------------------------------------------------------------------------------


def measure(piece: str, work: Path, job: dict, keep: bool = False) -> dict:
    """Run a piece in a process of its own, in an empty folder `out` below `work`."""
    out = work / "out" / piece
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    (work / "job.json").write_text(json.dumps(job))
    command = [sys.executable, __file__, "--piece", piece, "--work", str(work)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{piece}: {done.stderr}")
    found = json.loads(done.stdout.splitlines()[-1])
    print(f"  {piece} {job.get('what', '')}: {found['cpu_s']:.1f} CPU s, {found['wall_s']:.1f} s", flush=True)
    if not keep:
        shutil.rmtree(out, ignore_errors=True)
    return found


class Store:
    """nginx on loopback, serving `work/www`."""

    def __init__(self, work: Path):
        nginx = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
        if nginx is None:
            sys.exit("benchmarks/scale.py needs nginx: apt-get install nginx-light")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        config = served.CONFIG.format(work=work, port=self.port, cores=os.cpu_count())
        (work / "nginx.conf").write_text(config)
        command = [nginx, "-p", str(work), "-c", str(work / "nginx.conf")]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        time.sleep(0.5)

    def url(self, folder: str) -> str:
        return f"http://127.0.0.1:{self.port}/{folder}"


def lay_out(work: Path, count: int) -> dict[str, dict]:
    """Frames of each size under www/<size>, a dozen of them distinct; and a job for each size."""
    sources = frames.real_frames() or [frames.drawn_frame(work / f"drawn{n}.jpg", n) for n in range(6)]
    jobs = {}
    for size, (width, height) in SIZES.items():
        folder = work / "www" / size
        folder.mkdir(parents=True)
        for number in range(12):
            frames.lay_out(sources[number % len(sources)], work / f"{size}{number}.jpg", width, height)
        names = [f"{number:05d}.jpg" for number in range(count)]
        for number, name in enumerate(names):
            (folder / name).hardlink_to(work / f"{size}{number % 12}.jpg")
        mb = sum((folder / name).stat().st_size for name in names) / 1e6 / count
        jobs[size] = {"names": names, "width": width, "height": height, "mb": mb, "folder": str(folder), "boxes": 1}
    return jobs


def line(points: list[tuple[float, float]]) -> tuple[float, float]:
    """Value at nothing (not below 0) and slope of a straight line through points, each as important in proportion."""
    x, y = np.array(points).T
    slope, start = np.polyfit(x, y, 1, w=1 / y)
    return max(float(start), 0.0), float(slope)


def cropping(work: Path, jobs: dict[str, dict], count: int) -> dict[str, float]:
    """What a crop costs by megapixels of the image, by box and by the box's pixels; and what loading it does."""
    ways = [
        ("tiny", 1, 120),
        ("small", 1, 480),
        ("middle", 1, 480),
        ("large", 1, 480),
        ("middle", 3, 480),
        ("middle", 3, 120),
    ]
    terms, seconds, loads, found = [], [], [], {}
    for size, boxes, side in ways:
        job = jobs[size] | {"how": "files", "boxes": boxes, "box_px": side, "workers": 1}
        job["names"] = job["names"][:count]
        got = measure("crop", work, job | {"what": f"{size}, {boxes} of {side} px"}, keep=True)
        terms.append([1, job["width"] * job["height"] / 1e6, boxes, boxes * side**2 / 1e6])
        seconds.append(got["cpu_s"] / count)
        if boxes == 3:
            folder = {"folder": str(work / "out" / "crop" / "crops")}
            loaded = measure("load", work, folder)
            loads.append((side**2 / 1e6, loaded["cpu_s"] / loaded["crops"]))
            if side == 480:
                scored = measure("predict", work, folder)
                found["network_s"] = (scored["cpu_s"] - loaded["cpu_s"]) / scored["crops"]
                found |= {"crop_bytes_px": got["crop_bytes"] / side**2, "spread": got["spread"]}
    took = np.array(seconds)
    fitted, _ = nnls(np.array(terms) / took[:, None], np.ones(len(took)))
    found |= dict(zip(("crop_s", "crop_mp_s", "crop_box_s", "crop_box_mp_s"), map(float, fitted), strict=True))
    found["load_s"], found["load_mp_s"] = line(loads)
    return found


def costs(work: Path, count: int) -> dict[str, float]:
    """The table's entries."""
    store, jobs = Store(work), lay_out(work, FETCHED)
    found: dict[str, float] = {}
    try:
        for piece in ("fetch", "read"):
            points = []
            for size, job in jobs.items():
                got = measure(piece, work, job | {"url": store.url(size), "what": size})
                points.append((job["mb"], got["cpu_s"] / FETCHED))
            found[f"{piece}_s"], found[f"{piece}_mb_s"] = line(points)
        found |= cropping(work, jobs, count)
        got = measure("train", work, {"steps": 8})
        found["train_s"] = got["cpu_s"] / got["crops"]
        few, many = 50_000, 200_000
        driver = {"how": "fail", "width": 2048, "height": 1536, "boxes": 1}
        a, b = (
            measure("crop", work, driver | {"names": [f"{n}.jpg" for n in range(rows)], "what": f"{rows} rows fail"})
            for rows in (few, many)
        )
        found["driver_s"] = (b["cpu_s"] - a["cpu_s"]) / (many - few)
        found["driver_bytes"] = (b["peak_mb"] - a["peak_mb"]) * 1e6 / (many - few)
    finally:
        store.process.terminate()
        store.process.wait()
    return found


def check(work: Path, count: int, scored_crops: int) -> None:
    """The model's CPU seconds beside those of a run of `count` semi-real frames."""
    from dataclasses import replace

    from trapline.core.scale.costs import MEASURED
    from trapline.core.scale.plan import Plan, works

    data = frames.DATA / "semireal"
    export = json.loads((data / "export.json").read_text())
    by_image: dict[str, list] = {}
    for box in export["annotations"]:
        if box.get("bbox"):
            by_image.setdefault(box["image_id"], []).append(box["bbox"])
    images = [image for image in export["images"] if image["id"] in by_image]
    folder = work / "www" / "semi"
    names = [f"{number // 1000:02d}/{number % 1000:03d}.jpg" for number in range(count)]
    for number, image in enumerate(images):
        source = next(data.rglob(Path(image["file_name"]).name))
        shutil.copy(source, work / f"semi{number}.jpg")
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).hardlink_to(work / f"semi{number % len(images)}.jpg")
    given = [by_image[image["id"]] for image in images]
    boxes = sum(len(given[number % len(given)]) for number in range(count))
    mb = sum((work / f"semi{n}.jpg").stat().st_size for n in range(len(images))) / 1e6 / len(images)
    side = float(np.mean([max(w, h) ** 2 for spots in given for _, _, w, h in spots]) ** 0.5)
    store = Store(work)
    job = {"names": names, "width": 640, "height": 480, "boxes": 0, "given": given, "url": store.url("semi")}
    try:
        fetched = measure("fetch", work, job, keep=True)
        streamed = measure("crop", work, job | {"how": "streamed", "what": "streamed"})
        cut = measure("crop", work, job | {"how": "files", "folder": str(work / "out/fetch/images")}, keep=True)
        scored = measure("predict", work, {"folder": str(work / "out" / "crop" / "crops"), "most": scored_crops})
    finally:
        store.process.terminate()
        store.process.wait()
    plan = Plan(
        count, machine="c6i.4xlarge", image_mb=mb, megapixels=0.3072, boxes_per_image=boxes / count, crop_px=side
    )
    said = {("kept", work.stage): work for work in works(replace(plan, keep=True), MEASURED)}
    said |= {("streamed", work.stage): work for work in works(plan, MEASURED)}
    rows = {
        "fetch": (said["kept", "fetch"], fetched),
        "crop, from files": (said["kept", "crop"], cut),
        "crop, streamed": (said["streamed", "crop"], streamed),
        "predict": (said["kept", "predict"], scored),
    }
    print(f"{count:,} images of {mb * 1000:.0f} kB, {boxes:,} boxes, {scored['crops']:,} crops scored")
    print("stage              model CPU s   run CPU s   error   (run's seconds)")
    whole, really = 0.0, 0.0
    for name, (stage, got) in rows.items():
        cpu_s = (got["crops"] if name == "predict" else stage.rows) * (stage.cpu_s + stage.driver_s)
        if name != "crop, streamed":
            whole, really = whole + cpu_s, really + got["cpu_s"]
        print(f"{name:18} {cpu_s:11.1f} {got['cpu_s']:11.1f}  {cpu_s / got['cpu_s'] - 1:+6.1%}   {got['wall_s']:.0f}")
    print(f"{'fetch to predict':18} {whole:11.1f} {really:11.1f}  {whole / really - 1:+6.1%}")


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=300, help="of each size that are cropped")
    parser.add_argument("--json", type=Path, help="write the costs here too, for `trapline estimate run --costs`")
    parser.add_argument("--check", type=int, help="images of the run that the model is compared with")
    parser.add_argument("--scored", type=int, default=4000, help="crops of that run that are scored too")
    parser.add_argument("--piece", help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.piece:
        job = json.loads((args.work / "job.json").read_text())
        print(json.dumps(PIECES[args.piece](job, args.work / "out" / args.piece)))
        return
    with tempfile.TemporaryDirectory() as name:
        if args.check:
            check(Path(name), args.check, args.scored)
            return
        found = costs(Path(name), args.images)
    for entry, value in found.items():
        print(f"    {entry}={value:.3g},")
    if args.json:
        from trapline.core.scale.costs import MEASURED

        where = f"{os.cpu_count()} cores, {platform.machine()} (benchmarks/scale.py)"
        args.json.write_text(json.dumps({"measured_on": where, "start_s": MEASURED.start_s, **found}, indent=2))


if __name__ == "__main__":
    main()
