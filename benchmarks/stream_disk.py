"""100,000 images on a disk of 25 GB, at a hundredth of the scale: keeping all of them, and streaming.

    mount -t tmpfs -o size=250m none /mnt/small
    uv run python benchmarks/stream_disk.py /mnt/small

1,000 camera-trap frames of 1.5 MB (150 GB / 100,000) are served over HTTP from another disk. The project lies on the
small one. Prints how each run ended, and how full the disk was while images were cropped.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import polars as pl

import crop as frames
import trapline
from trapline.io import project_file

N_IMAGES, DISTINCT = 1000, 24
WIDTH, HEIGHT = 2912, 2184


class Quiet(SimpleHTTPRequestHandler):
    """Serves files without a word."""

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


class Server(ThreadingHTTPServer):
    """Serves without a word where a client that was stopped has gone."""

    def handle_error(self, request: object, client_address: object) -> None:
        """Says nothing."""


def make_store(folder: Path) -> tuple[Path, float]:
    """Frames under folder/store (few of them distinct: links) and their export; the store's size in MB."""
    store = folder / "store"
    store.mkdir()
    sources = frames.real_frames() or [frames.drawn_frame(folder / f"drawn{n}.jpg", n) for n in range(4)]
    for number in range(DISTINCT):
        frames.lay_out(sources[number % len(sources)], folder / f"{number}.jpg", WIDTH, HEIGHT)
    images, annotations, total = [], [], 0
    for number in range(N_IMAGES):
        (store / f"i{number:04d}.jpg").hardlink_to(folder / f"{number % DISTINCT}.jpg")
        total += (store / f"i{number:04d}.jpg").stat().st_size
        images.append({"id": f"i{number}", "file_name": f"i{number:04d}.jpg", "location": f"place {number % 20}",
                       "width": WIDTH, "height": HEIGHT, "datetime": "2024-01-01T00:00:00Z"})  # fmt: skip
        annotations.append(
            {"id": f"a{number}", "image_id": f"i{number}", "category_id": 1, "bbox": [700, 600, 620, 500]}
        )
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "fox"}], "info": {}}
    (folder / "export.json").write_text(json.dumps(content))
    return store, total / 1e6


def run(root: Path) -> tuple[int, str, list[tuple[int, float]]]:
    """Crop in a process of its own: exit code, last line, and (crops, MB used) every second."""
    command = [sys.executable, "-m", "trapline", "run", "--until", "crop", "--project", str(root)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    curve = []
    while process.poll() is None:
        crops = sum(1 for _ in (root / "crops").rglob("*.jpg"))
        curve.append((crops, shutil.disk_usage(root).used / 1e6))
        time.sleep(1)
    said = process.stdout.read() if process.stdout else ""
    return process.returncode, said.strip().splitlines()[-1], curve


def main() -> None:
    """Serve, run both, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("disk", type=Path)
    disk = parser.parse_args().disk
    with tempfile.TemporaryDirectory() as place:
        store, total = make_store(Path(place))
        server = Server(("127.0.0.1", 0), partial(Quiet, directory=str(store)))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        size = shutil.disk_usage(disk).total / 1e6
        print(f"{N_IMAGES} images, {total:.0f} MB; a disk of {size:.0f} MB")
        for name, streamed in (("keep all", False), ("stream", True)):
            root = disk / "project"
            shutil.rmtree(root, ignore_errors=True)
            trapline.init(root, [Path(place) / "export.json"], f"http://127.0.0.1:{server.server_port}/", "far")
            project_file.set_values(root / "trapline.yaml", "fetch", {"stream": streamed})
            code, said, curve = run(root)
            peak = max(used for _, used in curve)
            print(f"{name}: exit code {code}, at most {peak:.0f} MB used; {said}")
            print("  crops and MB:", ", ".join(f"{n} {mb:.0f}" for n, mb in curve[:: max(1, len(curve) // 8)]))
            if streamed:
                crops = pl.read_parquet(root / "tables" / "crops.parquet")
                print(f"  {crops['path'].count()} crops, {crops['failure'].count()} failures")
            shutil.rmtree(root)
        server.shutdown()


if __name__ == "__main__":
    main()
