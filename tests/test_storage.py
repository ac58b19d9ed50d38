"""A project whose crops, parts and checkpoints are objects of a real S3 server (moto): it makes what a folder makes."""

import json
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import boto3
import polars as pl
import pytest
import torch
from starlette.testclient import TestClient

import exports
from misbehaving import jpeg
from projects import QUICK, draw_small, write_project
from test_kill import digest
from trapline.apps.export import export
from trapline.apps.review.guard import Guard
from trapline.apps.review.material import of_project
from trapline.apps.review.pictures import Pictures
from trapline.apps.review.server import application
from trapline.apps.review.session import Session
from trapline.core.config import DatasetSource, EmbedConfig, ProjectConfig
from trapline.core.errors import InputError
from trapline.core.log import Log
from trapline.io import project_file
from trapline.io.atomic import BESIDE
from trapline.project import Project
from trapline.stages.embed import embed

TABLES = ("images", "files", "crops", "examples", "splits", "metrics")
ONE_EPOCH = QUICK.model_copy(update={"epochs": 1})
BUCKET = "trapline-storage"


@pytest.fixture(scope="module")
def s3(moto, aws):
    """A client of a bucket that the environment's credentials may use, as storage: and everything else do."""
    aws.setenv("AWS_ENDPOINT_URL", moto)
    aws.setenv("AWS_DEFAULT_REGION", "us-east-1")
    client = boto3.client("s3", region_name="us-east-1")
    client.create_bucket(Bucket=BUCKET)
    return client


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    return draw_small(tmp_path_factory.mktemp("drawn"))


def objects(s3, prefix):
    """Name below the prefix -> bytes."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{prefix}/")
    keys = [entry["Key"] for page in pages for entry in page.get("Contents", ())]
    return {key.removeprefix(f"{prefix}/"): s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys}


def files(folder: Path):
    """Name below the folder -> bytes."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    assert not [name for name in found if BESIDE in name]
    return {name: path.read_bytes() for name, path in found.items()}


def tables_of(root: Path):
    return {name: pl.read_parquet(root / "tables" / f"{name}.parquet") for name in TABLES}


def features_of(root: Path):
    """What embed makes of a few crops, where they lie; it takes long of all of them."""
    project = Project(root)
    parts, crops = project.storage.parts("embed"), project.table("crops").drop_nulls("path").head(6)
    found = embed(crops, EmbedConfig(device="cpu"), crops_dir=project.storage.crops, parts=parts, log=Log())
    assert found["embedding"].null_count() == 0
    return found


def run_of(root: Path):
    (run,) = (root / "runs").iterdir()
    return run


@pytest.fixture(scope="module")
def both(s3, planted, tmp_path_factory, one_core):
    """The roots of a project in a folder and of one in a bucket, each run to its end."""
    home = tmp_path_factory.mktemp("both")
    local = write_project(home / "local", planted, train=ONE_EPOCH)
    away = write_project(home / "away", planted, train=ONE_EPOCH, storage=f"s3://{BUCKET}/whole/chain")
    for root in (local, away):
        Project(root).run()
    return local, away


@pytest.mark.slow
def test_a_bucket_gives_what_a_folder_gives(both, s3):
    local, away = both
    assert features_of(away).equals(features_of(local))
    there = objects(s3, "whole/chain")
    expected, found = tables_of(local), tables_of(away)
    for name, table in expected.items():
        assert found[name].equals(table), name
    assert {name: data for name, data in there.items() if name.startswith("crops/")} == {
        f"crops/{name}": data for name, data in files(local / "crops").items()
    }
    run, same = run_of(local), run_of(away)
    assert pl.read_parquet(same / "predictions.parquet").equals(pl.read_parquet(run / "predictions.parquet"))
    best = torch.load(same / "checkpoints/best.pt", weights_only=True)
    assert digest(best) == digest(torch.load(run / "checkpoints/best.pt", weights_only=True))
    for name in ("checkpoints/best.pt", "checkpoints/last.pt", "metrics.jsonl", "done.json"):
        assert there[f"runs/{same.name}/{name}"] == (same / name).read_bytes()
    assert not (away / "crops").exists()
    for stage in ("crop", "embed"):
        assert not files(away / "tables" / stage)
        assert [name for name in there if name.startswith(f"tables/{stage}/part-")]
    report = (same / "report.html").read_text()
    assert report.count("data:image/jpeg") == (run / "report.html").read_text().count("data:image/jpeg") > 0


@pytest.mark.slow
def test_packed_crops_give_what_files_give(both, planted, tmp_path, one_core):
    """Cropped, embedded, trained from and scored out of tar files."""
    local, _ = both
    root = write_project(tmp_path / "packed", planted, train=ONE_EPOCH, storage={"packed": True})
    Project(root).run()
    for name, table in tables_of(local).items():
        assert tables_of(root)[name].equals(table), name
    assert features_of(root).equals(features_of(local))
    run, same = run_of(local), run_of(root)
    assert pl.read_parquet(same / "predictions.parquet").equals(pl.read_parquet(run / "predictions.parquet"))
    best = torch.load(same / "checkpoints/best.pt", weights_only=True)
    assert digest(best) == digest(torch.load(run / "checkpoints/best.pt", weights_only=True))
    crops, found = files(local / "crops"), {}
    for path in (root / "crops").glob("*.tar"):
        with tarfile.open(path) as pack:
            found |= {member.name: pack.extractfile(member).read() for member in pack}  # type: ignore[union-attr]
    assert found == crops
    assert len(files(root / "crops")) < len(crops) / 10
    report = (same / "report.html").read_text()
    assert report.count("data:image/jpeg") == (run / "report.html").read_text().count("data:image/jpeg")


@pytest.mark.slow
@pytest.mark.parametrize("packed", [False, True])
def test_the_processes_of_a_cluster_make_the_same_crops_in_the_bucket(both, s3, planted, tmp_path, packed):
    import ray

    local, _ = both
    prefix = f"cluster/{packed}"
    storage = {"url": f"s3://{BUCKET}/{prefix}", "packed": packed}
    project = Project(
        write_project(tmp_path / "project", planted, train=ONE_EPOCH, storage=storage), engine="ray", address="local"
    )
    try:
        project.run(until="crop")
    finally:
        ray.shutdown()
    assert project.table("crops").equals(Project(local).table("crops"))
    expected = files(local / "crops")
    assert {name: project.storage.crops.read(name) for name in expected} == expected
    there = [name for name in objects(s3, prefix) if name.startswith("crops/")]
    assert len(there) < len(expected) / 10 if packed else len(there) == len(expected)


@pytest.mark.slow
def test_another_machine_goes_on_from_the_bucket(both, s3, tmp_path):
    """Of the project only what its user wrote is left: nothing is cropped, trained or scored again."""
    _, away = both
    again = tmp_path / "again"
    again.mkdir()
    shutil.copy(away / "trapline.yaml", again)
    before = {name: (tag, at) for name, tag, at in tags(s3, "whole/chain") if not name.startswith("tables/")}
    Project(again).run()
    after = {name: (tag, at) for name, tag, at in tags(s3, "whole/chain") if not name.startswith("tables/")}
    same = [name for name in before if name.startswith("crops/") or name.endswith(".pt")]
    assert len(same) > 100
    assert {name: after[name] for name in same} == {name: before[name] for name in same}
    expected = tables_of(away)
    assert pl.read_parquet(again / "tables/metrics.parquet").equals(expected["metrics"])


@pytest.mark.slow
def test_killed_in_the_middle_it_ends_as_if_it_had_not_been(both, s3, planted, tmp_path):
    """SIGKILL while crops are written, and while parts are: what is there then is gone on from."""
    _, away = both
    root = write_project(tmp_path / "killed", planted, storage=f"s3://{BUCKET}/killed")
    command = [sys.executable, "-m", "trapline", "run", "--until", "crop", "--project", str(root)]
    for wanted in ("crops/", "tables/crop/"):
        running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        while running.poll() is None and not any(name.startswith(wanted) for name, *_ in tags(s3, "killed")):
            time.sleep(0.05)
        running.send_signal(signal.SIGKILL)
        running.communicate()
    parts = [name for name, *_ in tags(s3, "killed") if name.startswith("tables/crop/")]
    assert parts
    Project(root).run(until="crop")
    assert pl.read_parquet(root / "tables/crops.parquet").equals(pl.read_parquet(away / "tables/crops.parquet"))
    made, expected = objects(s3, "killed/crops"), objects(s3, "whole/chain/crops")
    assert made == expected


# -- what its user meets ----------------------------------------------------------------------------------------------


@pytest.fixture
def islands(s3, tmp_path):
    """A project of six boxes, cropped inside its folder; and its crops."""
    folder = tmp_path / "images"
    images, boxes = [], []
    for k in range(6):
        images.append(exports.animl_image(f"p:{k}", width=96, height=96))
        boxes.append(exports.animl_object(f"o{k}", f"p:{k}", "fox", [10, 10, 40, 40]))
        path = folder / images[-1]["file_name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(k))
    source = DatasetSource(annotations=(str(exports.write(tmp_path / "e.json", images, boxes)),), images=str(folder))
    root = tmp_path / "islands"
    project_file.write_new(root / "trapline.yaml", ProjectConfig(datasets={"islands": source}))
    Project(root).run(until="crop")
    return root, files(root / "crops")


def move(root, prefix):
    """Set storage: as its user does."""
    project_file.set_values(root / "trapline.yaml", "storage", {"url": f"s3://{BUCKET}/{prefix}"})


def test_crops_are_made_where_they_are_then_to_lie(islands, s3):
    root, crops = islands
    before = pl.read_parquet(root / "tables/crops.parquet")
    move(root, "moved")
    project = Project(root)
    (status,) = [status for status in project.status() if status.stage == "crop"]
    assert (status.state, status.reasons) == ("stale", ("storage changed",))
    project.run(until="crop")
    assert objects(s3, "moved/crops") == crops
    assert pl.read_parquet(root / "tables/crops.parquet").equals(before)
    assert project.status()[2].state == "up to date"


def test_what_was_copied_to_the_bucket_is_not_made_again(islands, s3):
    root, _ = islands
    for name, data in files(root).items():
        if name.startswith(("crops/", "tables/crop/")):
            s3.put_object(Bucket=BUCKET, Key=f"copied/{name}", Body=data)
    before = tags(s3, "copied")
    time.sleep(1.1)  # the store's clock ticks in seconds
    move(root, "copied")
    Project(root).run(until="crop")
    assert tags(s3, "copied") == before


def test_what_is_gone_or_damaged_in_a_pack_is_found_and_made_again(islands):
    root, crops = islands
    project_file.set_values(root / "trapline.yaml", "storage", {"packed": True})
    shutil.rmtree(root / "crops")
    project = Project(root)
    project.run(until="crop")
    (pack,) = (root / "crops").glob("*.tar")
    data = bytearray(pack.read_bytes())
    name = sorted(crops)[2]
    place = bytes(data).index(crops[name])
    data[place + len(crops[name]) // 2] ^= 255
    pack.write_bytes(bytes(data))
    assert Project(root).check_crops() == 1
    project.make("crop")
    stored = project.storage.crops
    assert {name: stored.read(name) for name in crops} == crops
    for path in (root / "crops").glob("*.tar"):
        path.unlink()
    assert project.check_crops() == 6
    project.make("crop")
    assert {name: stored.read(name) for name in crops} == crops


def test_what_is_gone_or_damaged_in_the_bucket_is_found_and_made_again(islands, s3):
    root, crops = islands
    move(root, "checked")
    project = Project(root)
    project.run(until="crop")
    first, second, *_ = sorted(crops)
    s3.delete_object(Bucket=BUCKET, Key=f"checked/crops/{first}")
    s3.put_object(Bucket=BUCKET, Key=f"checked/crops/{second}", Body=b"another")
    assert project.check_crops() == 2
    project.make("crop")
    assert objects(s3, "checked/crops") == crops


def test_the_review_shows_crops_out_of_the_bucket_and_an_export_copies_them(islands, s3, tmp_path):
    root, crops = islands
    move(root, "seen")
    shutil.rmtree(root / "crops")
    project = Project(root)
    project.run(until="dataset")
    material = of_project(project)
    rows = material.rows.filter(pl.col("crop_path").is_not_null()).with_columns(frame_path=pl.lit(None, pl.String))
    assert rows.height == 6
    shown = [Pictures(material.stored).crop(row) for row in rows.iter_rows(named=True)]
    assert len(set(shown)) == 6
    assert all(picture.startswith(b"\xff\xd8") for picture in shown)
    guard = Guard(1)
    client = TestClient(application(Session(material, "me"), guard), base_url="http://127.0.0.1:1")
    assert client.get("/", params={"token": guard.token}).status_code == 200
    assert {client.get(f"/picture/crop/{row}").content for row in range(6)} == set(shown)
    export(project, "fiftyone", tmp_path / "out")
    assert files(tmp_path / "out/pictures") == crops
    paths = json.loads((tmp_path / "out/data.json").read_text()).values()
    assert sorted(Path(path).read_bytes() for path in paths) == sorted(crops.values())


@pytest.mark.parametrize("url", ["bucket/prefix", "gs://bucket/prefix", "s3://", "s3://key:secret@bucket/prefix"])
def test_a_storage_that_is_no_bucket_is_refused_at_once(islands, url):
    root, _ = islands
    project_file.set_values(root / "trapline.yaml", "storage", {"url": url})
    with pytest.raises(InputError, match=r"storage .* write it as s3://bucket/prefix") as refused:
        Project(root)
    assert "secret" not in str(refused.value)


def tags(s3, prefix):
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{prefix}/")
    entries = [entry for page in pages for entry in page.get("Contents", ())]
    return [(entry["Key"].removeprefix(f"{prefix}/"), entry["ETag"], entry["LastModified"]) for entry in entries]
