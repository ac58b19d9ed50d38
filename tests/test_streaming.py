"""Images that stay in their store: read, cropped, forgotten. The store is a real HTTP server."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import polars as pl
import pytest
from PIL import Image

import exports
import trapline
from drawing import draw, is_all
from trapline.cli import run_command
from trapline.io import project_file

N_IMAGES = 80


class _Handler(SimpleHTTPRequestHandler):
    asked: list[str] = []
    seconds = 0.0

    def do_GET(self):
        self.asked.append(self.path)
        time.sleep(self.seconds)
        super().do_GET()

    def log_message(self, format, *args):
        pass


@pytest.fixture
def store(tmp_path):
    """(URL, handler class, folder) of a store of drawn images."""
    folder = tmp_path / "store"
    handler = type("Handler", (_Handler,), {"asked": [], "seconds": 0.0})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/", handler, folder
    server.shutdown()
    server.server_close()


def project_of(tmp_path, store, n_images=N_IMAGES, streamed=True):
    """A project of remote images, each with a red box; drawn where the store does not have them yet."""
    url, _, folder = store
    images, objects = [], []
    for n in range(n_images):
        name = f"{n:03d}_200x150_red_40x30_at_{n % 100}_60.jpg"
        if not (folder / name).exists():
            draw(folder, name)
        place = "Ridge" if n % 2 else "Creek"
        images.append(
            exports.animl_image(f"p:{n:03d}", place, file_name=name, serving_bucket_key=name, width=200, height=150)
        )
        objects.append(exports.animl_object(f"o{n}", f"p:{n:03d}", "fox", [n % 100, 60, 40, 30]))
    export = exports.write(tmp_path / "export.json", images, objects)
    root = tmp_path / "p"
    trapline.init(root, [export], url, "is")
    project_file.set_values(root / "trapline.yaml", "fetch", {"stream": streamed})
    return root


def outcome(root):
    crops = pl.read_parquet(root / "tables" / "crops.parquet")
    return crops, {path.name: path.read_bytes() for path in (root / "crops").rglob("*.jpg")}


def test_crops_of_streamed_images_are_those_of_fetched_ones(tmp_path, store):
    root = project_of(tmp_path, store)
    trapline.Project(root).run(until="crop")
    crops, files = outcome(root)
    assert len(files) == N_IMAGES
    assert crops["failure"].null_count() == N_IMAGES
    assert not (root / "images").exists()  # no full image is written
    with Image.open(root / "crops" / crops["path"][7]) as image:
        assert is_all(image.crop((4, 9, 36, 31)), "red", 30)
    project_file.set_values(root / "trapline.yaml", "fetch", {"stream": False})
    trapline.Project(root).run(until="crop")
    assert len(list((root / "images").rglob("*.jpg"))) == N_IMAGES
    fetched, same = outcome(root)
    assert fetched.equals(crops)
    assert same == files


def test_the_option_streams_and_stays(tmp_path, store, capsys):
    root = project_of(tmp_path, store, 4, streamed=False)
    assert run_command(["crop", "--stream", "--project", str(root)]) == 0
    assert "4 images are streamed" in capsys.readouterr().out
    assert not (root / "images").exists()
    assert run_command(["crop", "--style", "tight", "--project", str(root)]) == 0
    assert not (root / "images").exists()
    asked = list(store[1].asked)
    trapline.Project(root).run(until="crop")
    assert store[1].asked == asked  # up to date: nothing is asked for


def test_a_missing_image_is_a_row_and_a_damaged_crop_is_streamed_again(tmp_path, store):
    root = project_of(tmp_path, store, 6)
    (gone,) = store[2].glob("003_*")
    gone.rename(tmp_path / "away.jpg")
    project = trapline.Project(root)
    project.run(until="crop", max_failures=1)
    failed = project.table("crops").filter(pl.col("failure").is_not_null())
    assert failed["image_id"].to_list() == ["is/p:003"]
    damaged = sorted((root / "crops").rglob("*.jpg"))[0]
    damaged.write_bytes(b"")
    store[1].asked.clear()
    assert project.check_crops() == 1
    project.make("crop", max_failures=1)
    assert len(store[1].asked) == 1
    assert damaged.stat().st_size > 0


def test_a_killed_streaming_run_continues(tmp_path, store):
    root = project_of(tmp_path, store, 600)
    store[1].seconds = 0.1
    command = [sys.executable, "-m", "trapline", "run", "--until", "crop", "--project", str(root)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    parts = root / "tables" / "crop"
    end = time.monotonic() + 60
    while time.monotonic() < end and not list(parts.glob("part-*.parquet")):
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = sum(pl.read_parquet(path)["image_id"].n_unique() for path in parts.glob("part-*.parquet"))
    assert 0 < done < 600
    store[1].asked.clear()
    store[1].seconds = 0.0
    trapline.Project(root).run(until="crop")
    assert len(store[1].asked) == 600 - done
    crops, files = outcome(root)
    assert len(files) == 600
    assert crops["failure"].null_count() == 600
    assert json.loads((root / ".trapline" / "records" / "crop.json").read_text())["facts"]["failed_images"] == 0
