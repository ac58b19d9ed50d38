"""Fetching as its user meets it: from init to the exit code, from a real S3 server (moto), killed, twice at once."""

import json
import random
import re
import signal
import subprocess
import sys
import threading
import time

import polars as pl
import pytest

import exports
from misbehaving import jpeg, misbehaving
from trapline.cli import run_command
from trapline.stages.fetch import PART_IMAGES, WORKERS

SECRET = "hush-hush-hush"


def say(capsys, *arguments):
    code = run_command([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert "Traceback" not in captured.out + captured.err
    assert SECRET not in captured.out + captured.err
    return code, captured.out + captured.err


def export(path, n):
    """An Animl export of n images with a fox each."""
    images = [exports.animl_image(f"p:{k:05d}", width=96, height=96) for k in range(n)]
    boxes = [exports.animl_object(f"o{k}", f"p:{k:05d}", "fox", [10, 10, 40, 40]) for k in range(n)]
    return exports.write(path, images, boxes)


def key(k):
    return f"original/p:{k:05d}-original.jpg"


@pytest.fixture
def server():
    with misbehaving() as running:
        yield running


@pytest.fixture
def islands(tmp_path, server, capsys):
    """A project of 40 remote images, made by `init`; no image was asked for."""

    def make(n=40, root="islands"):
        server.objects |= {f"bucket/{key(k)}": jpeg(k, 64) for k in range(n)}
        root = tmp_path / root
        source = export(tmp_path / "export.json", n)
        code, text = say(capsys, "init", root, "--annotations", source, "--images", f"{server.url}/bucket")
        assert code == 0, text
        return root

    return make


def files_of(root):
    return {path.name: path.read_bytes() for path in (root / "images").rglob("*.jpg")}


def test_from_init_to_crops(islands, server, capsys):
    root = islands()
    assert not server.gets
    code, text = say(capsys, "run", "--until", "crop", "-p", root)
    assert code == 0, text
    assert "40 images -> 40 files fetched" in text
    assert "40 boxes -> 40 crops" in text
    assert len(files_of(root)) == 40
    code, text = say(capsys, "run", "--until", "crop", "-p", root)
    assert text.count("up to date") == 3
    assert sum(server.gets.values()) == 40


def test_an_export_of_whole_urls_says_itself_where_its_images_are(tmp_path, server, capsys):
    server.objects |= {f"elsewhere/{k}.jpg": jpeg(k, 64) for k in range(5)}
    images = [exports.animl_image(f"p:{k}", serving_bucket_key=f"{server.url}/elsewhere/{k}.jpg") for k in range(5)]
    source = exports.write(tmp_path / "e.json", images, [])
    code, text = say(capsys, "init", tmp_path / "p", "--annotations", source)
    assert code == 0, text
    assert f"the images are in {server.url};" in text
    code, text = say(capsys, "fetch", "-p", tmp_path / "p")
    assert code == 0, text
    assert files_of(tmp_path / "p") == {f"p-{k}.jpg": jpeg(k, 64) for k in range(5)}


def test_more_failures_than_allowed_end_with_3(islands, server, capsys):
    root = islands()
    for k in (3, 17, 31, 39):
        del server.objects[f"bucket/{key(k)}"]
    server.faults[f"bucket/{key(5)}"] = "403"
    code, text = say(capsys, "fetch", "-p", root)
    assert code == 3
    line = (
        "fetched 35 of 40; 4 missing (404): islands/cam1/ridge/p-00003.jpg, islands/cam1/ridge/p-00017.jpg, "
        "islands/cam1/ridge/p-00031.jpg, …; 1 access denied (403): islands/cam1/ridge/p-00005.jpg"
    )
    assert line in text
    assert f"trapline: done, but {line} and max_failures is 0." in text
    listed = pl.read_csv(root / "fetch_failures.csv")
    assert listed["failure"].to_list() == ["missing (404)", "access denied (403)", *["missing (404)"] * 3]
    assert say(capsys, "fetch", "-p", root, "--max-failures", 5)[0] == 0
    assert say(capsys, "run", "--until", "split", "-p", root)[0] == 3
    asked = server.gets.copy()
    server.objects |= {f"bucket/{key(k)}": jpeg(k, 64) for k in range(40)}
    server.faults.clear()
    assert say(capsys, "fetch", "-p", root)[0] == 3  # they are known to fail: nothing is asked
    assert server.gets == asked
    code, text = say(capsys, "fetch", "--retry-failed", "-p", root)
    assert code == 0, text
    assert "5 images that failed are tried again" in text
    assert {name: n - asked[name] for name, n in server.gets.items() if n > asked[name]} == {
        f"bucket/{key(k)}": 1 for k in (3, 5, 17, 31, 39)
    }


def test_no_secret_is_kept_or_shown(tmp_path, server, capsys):
    server.objects |= {f"bucket/{key(k)}": jpeg(k, 64) for k in range(3)}
    root = tmp_path / "p"
    signed = (
        f"http://me:{SECRET}@127.0.0.1:{server.server_address[1]}/bucket?sv=1&sig={SECRET}&X-Amz-Signature={SECRET}"
    )
    code, text = say(capsys, "init", root, "--annotations", export(tmp_path / "e.json", 4), "--images", signed)
    assert code == 0
    assert "what lets you in was taken out of the URL and is stored nowhere" in text
    say(capsys, "run", "--until", "crop", "-p", root)
    say(capsys, "status", "-p", root)
    for path in root.rglob("*"):
        assert path.is_dir() or SECRET.encode() not in path.read_bytes(), path
    path = root / "trapline.yaml"
    path.write_text(path.read_text().replace(f"{server.url}/bucket", signed))
    code, text = say(capsys, "fetch", "-p", root)
    assert code == 2
    assert "the URL holds a password, token or signature; take it out" in text
    code, text = say(capsys, "fetch", "-p", root, "--endpoint", f"https://x/?token={SECRET}")
    assert code == 2


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--max-disk", "lots"], "max-disk 'lots' is no size; write it as 20GB or 500MB"),
        (["--profile", "x", "--anonymous"], "choose one"),
        (["--key", "fixed.jpg"], "it names no field"),
        (["--key", "{uri.__class__}"], "fields in braces are uri, file_name"),
        (["--endpoint", "ftp://x"], "begins with http:// or https://"),
    ],
)
def test_options_that_make_no_sense(islands, capsys, options, expected):
    code, text = say(capsys, "fetch", "-p", islands(2), *options)
    assert code == 2
    assert expected in text


def test_estimate_before_anything_is_fetched(islands, server, capsys):
    root = islands(120)
    for k in range(0, 120, 10):
        del server.objects[f"bucket/{key(k)}"]
    code, text = say(capsys, "estimate", "fetch", "-p", root)
    assert code == 0, text
    total = sum(len(jpeg(k, 64)) for k in range(120) if k % 10)
    assert (
        "images: 120, of which 0 are fetched already; 120 of the rest were asked for their size, 12 of these are"
        in text
    )
    found = re.search(r"to fetch: 120 images, about ([\d.,]+) kB", text)
    assert found
    assert float(found.group(1).replace(",", "")) == pytest.approx(total / 1000, abs=1)
    assert re.search(r"time: about \d+ s", text)
    assert "disk, crops only (streaming): about 77 kB" in text  # 120 boxes of 40 x 40 px at 0.4 bytes a pixel
    assert len(server.heads) == 120
    assert not (root / "images").exists()
    say(capsys, "fetch", "-p", root)
    code, text = say(capsys, "estimate", "fetch", "-p", root, "--sample", 5)
    assert "of which 108 are fetched already; 5 of the rest were asked" in text


def test_two_at_once(islands, server):
    root = islands()
    body, go_on = jpeg(7, 64), threading.Event()

    def hold(to):
        go_on.wait(60)
        to.send("200 OK", body)

    server.faults[f"bucket/{key(7)}"] = hold
    command = [sys.executable, "-m", "trapline", "fetch", "-p", str(root)]
    first = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not server.gets:
        time.sleep(0.02)
    second = subprocess.run(command, capture_output=True, text=True, check=False)
    assert second.returncode == 1
    assert f"another trapline is at work in {root} (process {first.pid} on " in second.stderr
    go_on.set()
    _, errors = first.communicate(timeout=60)
    assert first.returncode == 0, errors
    assert len(files_of(root)) == 40
    assert sum(server.gets.values()) <= 41  # the one that was held may have been put off to the second round


def test_an_interrupt_keeps_what_came(islands, server):
    root = islands(200)
    server.delay = 0.05
    command = [sys.executable, "-m", "trapline", "fetch", "-p", str(root), "--max-concurrency", "4"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while sum(server.gets.values()) < 100:
        time.sleep(0.02)
    begin = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert time.monotonic() - begin < 5
    assert process.returncode == 130
    assert b"Traceback" not in errors
    subprocess.run(command, check=True, capture_output=True)
    assert len(files_of(root)) == 200
    assert sum(server.gets.values()) <= 200 + 8


# -- killed -------------------------------------------------------------------------------------------------------


def kill_again_and_again(root, server, kills, per_kill):
    """SIGKILL `kills` runs at random moments; after each, what is committed is asked for no more. Returns committed
    rows at each kill."""
    chance = random.Random(4)
    command = [sys.executable, "-m", "trapline", "fetch", "-p", str(root)]
    parts = root / "tables" / "fetch"
    committed = []
    for _ in range(kills):
        before = server.gets.copy()
        done = read_parts(parts)
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = sum(before.values()) + chance.randrange(per_kill)
        while sum(server.gets.values()) < until and process.poll() is None:
            time.sleep(0.005)
        process.kill()
        process.wait()
        time.sleep(0.1)
        again = {name for name in done if server.gets[name] > before[name]}
        assert not again, f"committed and fetched again: {sorted(again)[:3]}"
        committed.append(len(read_parts(parts)))
    return committed


def read_parts(folder):
    """Names on the server of what is committed."""
    found = set()
    for path in folder.glob("part-*.parquet"):
        ids = pl.read_parquet(path)["image_id"]
        found |= {f"bucket/original/{image_id.partition('/')[2]}-original.jpg" for image_id in ids}
    return found


def check_kills(islands, server, n, kills, per_kill, record):
    root = islands(n)
    server.delay = 0.005
    committed = kill_again_and_again(root, server, kills, per_kill)
    gets_at_end = sum(server.gets.values())
    done = subprocess.run(
        [sys.executable, "-m", "trapline", "fetch", "-p", str(root)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    gets = sum(server.gets.values())
    assert {f"p-{k:05d}.jpg": jpeg(k, 64) for k in range(n)} == files_of(root)
    in_flight = PART_IMAGES * WORKERS
    assert gets <= n + kills * in_flight
    again = subprocess.run(
        [sys.executable, "-m", "trapline", "fetch", "-p", str(root)], capture_output=True, text=True, check=False
    )
    assert again.returncode == 0
    assert sum(server.gets.values()) == gets
    assert not list((root / "images").rglob("*.partial*"))
    record("committed at each kill", committed)
    record("GETs until the last run, and in all, and allowed", (gets_at_end, gets, n + kills * in_flight))


def test_two_kills(islands, server, record_property):
    check_kills(islands, server, 600, 2, 400, record_property)


@pytest.mark.slow
def test_ten_kills(islands, server, record_property):
    check_kills(islands, server, 4000, 10, 700, record_property)


# -- a real S3 server ---------------------------------------------------------------------------------------------


@pytest.fixture
def bucket(moto, tmp_path, monkeypatch):
    """A bucket of Animl's shape with 12 images, and a profile named animl that may read it."""
    import boto3

    (tmp_path / "credentials").write_text(f"[animl]\naws_access_key_id=AKIAANIML\naws_secret_access_key={SECRET}\n")
    (tmp_path / "config").write_text("[profile animl]\nregion=us-west-2\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    client = boto3.Session(profile_name="animl").client("s3", endpoint_url=moto)
    client.create_bucket(Bucket="serving", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    for k in range(12):
        client.put_object(Bucket="serving", Key=key(k), Body=jpeg(k, 64))
    yield client
    for k in range(12):
        client.delete_object(Bucket="serving", Key=key(k))
    client.delete_bucket(Bucket="serving")


def test_from_s3_by_profile(bucket, moto, tmp_path, capsys):
    root = tmp_path / "p"
    code, text = say(capsys, "init", root, "--annotations", export(tmp_path / "e.json", 13), "--images", "s3://serving")
    assert code == 0
    assert "trapline fetch --profile NAME --save" in text
    code, text = say(capsys, "fetch", "-p", root, "--endpoint", moto)
    assert code == 2
    assert "no AWS credentials were found. Name a profile that has some with --profile" in text
    code, text = say(capsys, "fetch", "-p", root, "--endpoint", moto, "--profile", "anmil")
    assert code == 2
    assert "there is no AWS profile anmil. Known are animl." in text
    code, text = say(capsys, "fetch", "-p", root, "--endpoint", moto, "--profile", "animl", "--save")
    assert code == 3
    assert "fetched 12 of 13; 1 missing (404): islands/cam1/ridge/p-00012.jpg" in text
    assert files_of(root) == {f"p-{k:05d}.jpg": jpeg(k, 64) for k in range(12)}
    checksums = pl.read_parquet(root / "tables" / "files.parquet")["checksum"].drop_nulls()
    assert all(checksum.startswith("md5-") for checksum in checksums)
    settings = (root / "trapline.yaml").read_text()
    assert "profile: animl" in settings
    assert SECRET not in settings


def test_from_s3_without_a_url_by_bucket(bucket, moto, tmp_path, capsys):
    root = tmp_path / "p"
    (root / "images" / "islands").mkdir(parents=True)
    export(tmp_path / "e.json", 12)
    settings = {"datasets": {"islands": {"annotations": [str(tmp_path / "e.json")]}}}
    (root / "trapline.yaml").write_text(json.dumps(settings))
    options = ("--endpoint", moto, "--profile", "animl", "--bucket")
    code, text = say(capsys, "fetch", "-p", root, *options, "nowhere")
    assert code == 2
    assert "s3://nowhere: there is no such bucket" in text
    code, text = say(capsys, "fetch", "-p", root, *options, "serving")
    assert code == 0, text
    assert len(files_of(root)) == 12
    code, text = say(capsys, "run", "--until", "crop", "-p", root)
    assert code == 0, text
    assert "(made with" in text
