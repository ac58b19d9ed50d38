"""Fetching from a store: what is on disk, what is in the table, what is said, after each thing that can go wrong."""

import os
import shutil
import subprocess
import threading
import time
from pathlib import Path

import polars as pl
import pytest
from PIL import Image

from misbehaving import jpeg, misbehaving
from trapline.core.config import FetchConfig
from trapline.core.errors import InputError, StoreDown, StoreRefused, TraplineError
from trapline.core.log import Log
from trapline.core.schemas import FILES, IMAGES
from trapline.io import downloads
from trapline.io.ledger import Parts
from trapline.stages import fetch as stage

QUICK = FetchConfig(stall_s=0.4, request_s=1.0, budget_s=2.0)


class Shelf:
    """A project's fetch stage over a server's images."""

    def __init__(self, root: Path, server):
        self.root = root
        self.server = server
        self.rows: list[dict] = []
        self.url = f"{server.url}/bucket"

    def add(self, *names, uri=None, fault=None, body=None):
        for name in names:
            number = len(self.rows)
            key = uri or name
            self.server.objects[f"bucket/{key}"] = jpeg(number) if body is None else body
            if fault:
                self.server.faults[f"bucket/{key}"] = fault
            self.rows.append({"image_id": f"is/{number:04d}", "dataset": "is", "file_name": name, "uri": uri})
        return self

    @property
    def images(self):
        return pl.DataFrame(self.rows, schema=IMAGES.columns)

    def run(self, cfg=QUICK, **changes):
        self.log = Log()
        self.table = FILES.check(
            stage.fetch(
                self.images,
                {"is": Path("images/is")},
                root=self.root,
                log=self.log,
                stores={"is": self.url},
                cfg=cfg.model_copy(update=changes),
                parts=Parts(self.root / "tables" / "fetch"),
            )
        )
        return self

    def on_disk(self):
        folder = self.root / "images"
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def failures(self):
        names = dict(self.images.select("image_id", "file_name").iter_rows())
        return {names[row[0]]: row[1] for row in self.table.select("image_id", "failure").drop_nulls().iter_rows()}

    @property
    def gets(self):
        return sum(self.server.gets.values())


@pytest.fixture
def shelf(tmp_path):
    with misbehaving() as server:
        yield Shelf(tmp_path, server)


def test_everything_comes_under_its_file_name(shelf):
    shelf.add("cam1/a.jpg", "cam1/b b.jpg", "cam2/é [1].jpg").run()
    assert shelf.on_disk() == {f"is/{row['file_name']}": jpeg(n) for n, row in enumerate(shelf.rows)}
    assert shelf.table["path"].to_list() == [f"images/is/{row['file_name']}" for row in shelf.rows]
    assert shelf.table["bytes"].to_list() == [len(jpeg(n)) for n in range(3)]
    assert shelf.table.select("width_px", "height_px", "orientation").rows() == [(96, 96, 1)] * 3
    assert [str(account) for account in shelf.log.accounts] == ["3 images -> 3 files fetched"]
    assert shelf.log.notes == ["fetched 3 of 3"]


def test_the_raw_size_and_orientation_are_read(shelf, tmp_path):
    image = Image.new("RGB", (80, 40))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "x.jpg", exif=exif)
    shelf.add("a.jpg", body=(tmp_path / "x.jpg").read_bytes()).run()
    assert shelf.table.select("width_px", "height_px", "orientation").row(0) == (80, 40, 6)


def test_the_exports_key_comes_first_and_a_template_before_it(shelf):
    shelf.add("a.jpg", uri="original/0-original.jpg").add("b.jpg").run()
    assert shelf.server.gets == {"bucket/original/0-original.jpg": 1, "bucket/b.jpg": 1}
    shelf.server.objects |= {f"bucket/thumbs/000{n}_t.jpg": jpeg(7) for n in range(2)}
    shelf.run(key="thumbs/{image_id}_t{suffix}")
    assert shelf.on_disk() == {"is/a.jpg": jpeg(7), "is/b.jpg": jpeg(7)}


def test_a_whole_url_is_where_the_image_is(shelf):
    shelf.server.objects["other/a b.jpg"] = jpeg(0)
    url = f"{shelf.server.url}/other/a%20b.jpg?X-Amz-Signature=hush&X-Amz-Credential=me"
    shelf.rows.append({"image_id": "is/0", "dataset": "is", "file_name": "a.jpg", "uri": url})
    shelf.rows.append({"image_id": "is/1", "dataset": "is", "file_name": "b.jpg", "uri": "file:///etc/passwd"})
    shelf.run()
    assert shelf.on_disk() == {"is/a.jpg": jpeg(0)}
    assert shelf.failures() == {"b.jpg": "address of a kind that cannot be fetched"}
    for path in shelf.root.rglob("*"):
        assert path.is_dir() or b"hush" not in path.read_bytes()


def test_a_complete_run_again_asks_for_nothing(shelf):
    shelf.add(*(f"{n}.jpg" for n in range(150)), "gone.jpg")
    del shelf.server.objects["bucket/gone.jpg"]
    before = shelf.run().table
    asked = shelf.gets
    assert shelf.run().table.equals(before)
    assert shelf.gets == asked


def test_what_is_gone_from_disk_is_fetched_again(shelf):
    shelf.add(*(f"{n}.jpg" for n in range(5))).run()
    (shelf.root / "images/is/1.jpg").unlink()
    (shelf.root / "images/is/3.jpg").write_bytes(b"torn")
    assert stage.gone(shelf.table, root=shelf.root) == 2
    shelf.run()
    assert {name for name, n in shelf.server.gets.items() if n == 2} == {"bucket/1.jpg", "bucket/3.jpg"}
    assert shelf.on_disk()["is/3.jpg"] == jpeg(3)


def test_faults_that_pass_leave_no_trace(shelf):
    for fault in ("500", "503", "429", "reset", "truncated", "short", "corrupt", "stall", "html", "empty"):
        shelf.add(f"{fault}.jpg", fault=[fault])
    shelf.run(budget_s=8.0)
    assert shelf.on_disk() == {f"is/{row['file_name']}": jpeg(n) for n, row in enumerate(shelf.rows)}
    assert shelf.failures() == {}


def test_faults_that_do_not_pass_are_rows(shelf):
    """One of every kind among a hundred good ones: each is a row with its reason, and no file."""
    expected = {
        "403": "access denied (403)",
        "404": "missing (404)",
        "500": "server error (500)",
        "429": "throttled (429)",
        "reset": "connection broken",
        "truncated": "connection broken",
        "short": "checksum does not match",
        "corrupt": "checksum does not match",
        "stall": "timed out",
        "drip": "timed out",
        "html": "not an image",
        "empty": "file is empty",
    }
    shelf.add(*(f"{n}.jpg" for n in range(100)))
    for fault in expected:
        shelf.add(f"{fault}.jpg", fault=fault)
    shelf.run()
    assert shelf.failures() == {f"{fault}.jpg": reason for fault, reason in expected.items()}
    assert set(shelf.on_disk()) == {f"is/{n}.jpg" for n in range(100)}
    told = shelf.log.warnings[0]
    assert told.startswith(
        "fetched 100 of 112; 2 checksum does not match: corrupt.jpg, short.jpg; 2 connection broken: "
    )
    assert "1 missing (404): 404.jpg" in told
    assert shelf.log.accounts[0].rows_out == 100


def test_an_object_that_ends_early_and_says_so_itself_is_left_to_crop(shelf):
    """Nothing but the decoder can tell: the same short bytes twice are how the object is."""
    shelf.add("a.jpg", "b.jpg").add("short.jpg", fault="short, no tag").run()
    assert shelf.failures() == {}
    assert shelf.server.gets["bucket/short.jpg"] == 2
    assert shelf.on_disk()["is/short.jpg"] == jpeg(2)[: len(jpeg(2)) // 2]
    assert shelf.table["checksum"][2].startswith("sha256-")


def test_slow_ones_do_not_hold_up_the_rest(shelf, monkeypatch):
    """Six of 300 images stall for ever: the others are all there long before these are given up."""
    monkeypatch.setattr(downloads, "SLOW_AT_LEAST_S", 0.5)
    shelf.add(*(f"{n}.jpg" for n in range(300)))
    for n in range(0, 300, 50):
        shelf.server.faults[f"bucket/{n}.jpg"] = "hang"
    there_at = []

    def watch():
        begin = time.monotonic()
        while len(list((shelf.root / "images/is").glob("*.jpg"))) < 294:
            time.sleep(0.05)
        there_at.append(time.monotonic() - begin)

    watcher = threading.Thread(target=watch)
    (shelf.root / "images/is").mkdir(parents=True)
    watcher.start()
    begin = time.monotonic()
    shelf.run(budget_s=6.0, stall_s=10.0, request_s=10.0)
    watcher.join()
    assert there_at[0] < 5.0
    assert time.monotonic() - begin > there_at[0] + 3.0
    assert set(shelf.failures().values()) == {"timed out"}
    assert len(shelf.failures()) == 6


# -- the store ----------------------------------------------------------------------------------------------------


def test_nothing_but_missing_images(shelf):
    shelf.add(*(f"{n}.jpg" for n in range(30)))
    shelf.server.objects.clear()
    with pytest.raises(
        InputError, match=r"none of the 30 images of dataset is is in .*/bucket \(first asked for: 0.jpg"
    ):
        shelf.run()
    shelf.add(*(f"{n}.jpg" for n in range(30, 400)))
    shelf.server.objects.clear()
    shelf.url = f"{shelf.server.url}/typo"
    with pytest.raises(StoreRefused, match="none of the first 100 images is in"):
        shelf.run()
    assert not shelf.on_disk() if (shelf.root / "images").exists() else True


def test_refused_credentials_keep_what_was_fetched_and_mark_nothing_failed(shelf):
    """They expire in the middle of the night: the next run, with new ones, goes on."""
    shelf.add(*(f"{n}.jpg" for n in range(200)))
    shelf.url = "s3://bucket"
    many = {"anonymous": True, "endpoint": shelf.server.url, "max_concurrency": 4}
    plain, lock = shelf.server.answer, threading.Lock()
    served = 0

    def answer(to, *arguments):
        nonlocal served
        with lock:
            served += 1
        if served > 80:
            return shelf.server.misbehave(to, "400 ExpiredToken", b"")
        return plain(to, *arguments)

    shelf.server.answer = answer
    with pytest.raises(StoreRefused, match="ExpiredToken"):
        shelf.run(**many)
    assert served < 90
    fetched = len(shelf.on_disk())
    assert 75 <= fetched <= 80
    shelf.server.answer = plain
    shelf.run(**many)
    assert shelf.failures() == {}
    assert len(shelf.on_disk()) == 200
    assert shelf.gets <= 200 + 4  # what came before the end was committed; four were in flight


def test_a_network_that_is_down_marks_nothing_failed(shelf):
    shelf.add(*(f"{n}.jpg" for n in range(20)))
    url, shelf.url = shelf.url, "http://127.0.0.1:1/bucket"
    with pytest.raises(StoreDown, match="connection refused"):
        shelf.run(budget_s=1.0)
    assert shelf.gets == 0
    shelf.url = url
    assert shelf.run().failures() == {}


# -- names --------------------------------------------------------------------------------------------------------


def test_names_that_differ_only_in_case_do_not_overwrite_each_other(shelf):
    shelf.add("cam/A.JPG", "cam/a.jpg", "Cam/x.jpg", "cam/e\u0301.jpg", "cam/\u00e9.jpg", "d.jpg", "d.jpg/e.jpg").run()
    assert shelf.failures() == {}
    paths = shelf.table["path"].to_list()
    assert len({path.casefold() for path in paths}) == 7
    assert paths[2] == "images/is/Cam/x.jpg"
    assert [(shelf.root / path).read_bytes() for path in paths] == [jpeg(n) for n in range(7)]


@pytest.mark.parametrize(
    "name", ["../out.jpg", "/etc/out.jpg", "a/../../../out.jpg", "C:\\out.jpg", "a\0.jpg", "nul.jpg"]
)
def test_hostile_names_are_rows_and_nothing_is_asked(shelf, name):
    shelf.add("fine.jpg").add(name, uri="key.jpg").run()
    assert set(shelf.on_disk()) == {"is/fine.jpg"}
    assert shelf.failures()[name].startswith("file name")
    assert "bucket/key.jpg" not in shelf.server.gets
    assert {path.name for path in shelf.root.parent.rglob("out.jpg")} == set()


@pytest.mark.parametrize("uri", ["../../other/secret.jpg", "a/../../b.jpg", "./x.jpg", "a//b.jpg"])
def test_hostile_keys_are_rows(shelf, uri):
    shelf.add("fine.jpg").add("bad.jpg", uri=uri).run()
    assert shelf.failures() == {"bad.jpg": "key cannot be asked for (empty, `.` or `..` between slashes)"}
    assert list(shelf.server.gets) == ["bucket/fine.jpg"]


# -- the disk -----------------------------------------------------------------------------------------------------


def test_the_disk_budget_stops_cleanly_and_goes_on(shelf):
    shelf.add(*(f"{n}.jpg" for n in range(100)))
    half = sum(len(jpeg(n)) for n in range(100)) / 2
    with pytest.raises(
        downloads.DiskBudget, match=r"would pass --max-disk .* What was fetched is kept. Free some space"
    ):
        shelf.run(max_disk=f"{half / 1000:.1f}kB", max_concurrency=4)
    kept = shelf.on_disk()
    assert half - 40_000 < sum(map(len, kept.values())) <= half
    shelf.run()
    assert len(shelf.on_disk()) == 100
    assert max(shelf.server.gets[f"bucket/{name.removeprefix('is/')}"] for name in kept) == 1


def test_a_tenth_of_the_disk_stays_free(shelf, monkeypatch):
    shelf.add("a.jpg")
    monkeypatch.setattr(downloads, "KEPT_FREE", 0.9999)
    with pytest.raises(downloads.DiskBudget, match="GB are free, and a tenth is kept free"):
        shelf.run()
    shelf.run(max_disk="1GB")
    assert shelf.failures() == {}


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small tmpfs cannot be mounted here (needs root)")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk(small_disk):
    with misbehaving() as server:
        shelf = Shelf(small_disk / "p", server).add(*(f"{n}.jpg" for n in range(200)))
        with pytest.raises(TraplineError, match=r"the disk is full. Free some space and run the same command again"):
            shelf.run(max_disk="1GB")
        whole = {f"is/{row['file_name']}": jpeg(n) for n, row in enumerate(shelf.rows)}
        there = shelf.on_disk()
        assert len(there) > 20
        assert all(whole[name] == data for name, data in there.items())  # whole or not at all
        subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)], check=True)
        shelf.run(max_disk="1GB")
        assert shelf.on_disk() == whole


def test_what_a_kill_left_half_written_goes(shelf):
    shelf.add("cam/a.jpg")
    left = shelf.root / f"images/is/cam/a.jpg.partial{os.getpid() + 1}"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    shelf.run()
    assert set(shelf.on_disk()) == {"is/cam/a.jpg"}
