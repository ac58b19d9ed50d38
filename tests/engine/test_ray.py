"""Two machines of a Ray cluster (two raylets of this one) do what one machine does, whatever dies on the way."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest

import works
from projects import QUICK, draw_small, write_project
from trapline import Project
from trapline.apps.demo import DATASET
from trapline.apps.predict_images import predict_images
from trapline.core.config import PredictConfig
from trapline.core.errors import InputError
from trapline.core.log import Log
from trapline.core.new_images import NewImagesConfig
from trapline.engine.local import LOCAL
from trapline.engine.ray import QUIET, Ray
from trapline.io import project_file
from trapline.io.ledger import Parts
from trapline.stages import crop as crop_stage
from trapline.stages import predict as predict_stage

os.environ.update(QUIET)  # as connect does: Ray asks when it is loaded
ray = pytest.importorskip("ray")
cluster_utils = pytest.importorskip("ray.cluster_utils")

pytestmark = pytest.mark.slow
STORE_BYTES = 80_000_000


@pytest.fixture(scope="module")
def cluster():
    """Two machines with one core each, whose processes find this folder's modules."""
    os.environ["PYTHONPATH"] = os.pathsep.join(folder for folder in sys.path if folder)
    cluster = cluster_utils.Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": STORE_BYTES}
    )
    cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
    cluster.wait_for_nodes()
    yield cluster
    ray.shutdown()
    cluster.shutdown()
    del os.environ["PYTHONPATH"]


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    return draw_small(tmp_path_factory.mktemp("drawn"))


@pytest.fixture
def seen(tmp_path):
    folder = tmp_path / "seen"
    folder.mkdir()
    return folder


def test_all_rows_in_their_order_from_two_machines(cluster, tmp_path, seen):
    shuffled = works.numbers(60).sample(fraction=1, shuffle=True, seed=3)
    found = works.doubled(partial(works.Doubling, seen, slow_s=0.05), Ray(cluster.address), tmp_path, shuffled)
    assert found["id"].to_list() == shuffled["id"].to_list()
    assert found["twice"].to_list() == [2 * number for number in shuffled["number"]]
    assert len({pid for path in seen.iterdir() for pid in path.read_text().split()}) == 2
    again = works.doubled(partial(works.Doubling, seen / "unused"), LOCAL, tmp_path, shuffled)  # any engine goes on
    assert again.equals(found)


@pytest.mark.parametrize("how", ["deadly", "once"])
def test_a_row_that_kills_its_process_is_a_failure_at_most(cluster, tmp_path, seen, how):
    found = works.doubled(partial(works.Doubling, seen, **{how: "r6"}), Ray(cluster.address), tmp_path)
    expected = [2 * i if i != 6 or how == "once" else None for i in range(12)]
    assert found["twice"].to_list() == expected
    assert found["failure"].count() == (how == "deadly")
    if how == "deadly":
        assert "the process that reads it dies" in found["failure"][6]
    tried = (seen / "r6").read_text()
    works.doubled(partial(works.Doubling, seen), LOCAL, tmp_path)
    assert (seen / "r6").read_text() == tried  # a failure is a result


def assert_nothing_goes_along(cluster, folder, seen, n, *, gpus):
    """Numbers are doubled whole while a machine goes, with as many GPUs."""
    with going(cluster, folder / "parts", 4, num_gpus=gpus):
        found = works.doubled(
            partial(works.Doubling, seen, slow_s=0.1), Ray(cluster.address), folder, works.numbers(n), part_rows=2,
            gpu=gpus > 0,
        )  # fmt: skip
    assert found["twice"].to_list() == [2 * i for i in range(n)]
    assert found["failure"].null_count() == n


def test_a_machine_that_goes_takes_nothing_along(cluster, tmp_path, seen):
    assert_nothing_goes_along(cluster, tmp_path, seen, 80, gpus=0)


def test_what_cannot_work_says_so(cluster, tmp_path, seen):
    with pytest.raises(FileNotFoundError, match="unmade"):
        works.doubled(partial(works.Doubling, seen / "unmade"), Ray(cluster.address), tmp_path)
    with pytest.raises(InputError, match="does not see"):
        works.doubled(partial(works.Doubling, seen), Ray(cluster.address, folder=tmp_path / "elsewhere"), tmp_path)


@pytest.fixture
def cards(cluster):
    """A third machine, with two GPUs as far as Ray is told."""
    more = cluster.add_node(num_cpus=2, num_gpus=2, object_store_memory=STORE_BYTES)
    cluster.wait_for_nodes()
    yield
    cluster.remove_node(more, allow_graceful=False)


def test_every_gpu_has_a_process_that_stays(cluster, cards, tmp_path):
    found = works.doubled(works.Telling, Ray(cluster.address), tmp_path, works.numbers(60), part_rows=2, gpu=True)
    kept = found.select("process", "card").unique()
    assert kept.height == 2
    assert set(kept["card"]) == {"0", "1"}


@pytest.mark.parametrize("how", ["deadly", "once"])
def test_a_row_that_kills_the_process_of_a_gpu(cluster, cards, tmp_path, seen, how):
    found = works.doubled(partial(works.Doubling, seen, **{how: "r6"}), Ray(cluster.address), tmp_path, gpu=True)
    assert found["twice"].to_list() == [2 * i if i != 6 or how == "once" else None for i in range(12)]
    assert found["failure"].count() == (how == "deadly")


def test_a_machine_that_goes_with_its_gpu_takes_nothing_along(cluster, cards, tmp_path, seen):
    assert_nothing_goes_along(cluster, tmp_path, seen, 80, gpus=1)


def test_cores_go_on_where_the_last_gpu_goes(cluster, tmp_path, seen):
    assert_nothing_goes_along(cluster, tmp_path, seen, 60, gpus=1)


# -- the stages ---------------------------------------------------------------------------------------------------


def project(planted, folder, engine, cluster=None):
    root = folder if folder.exists() else write_project(folder, planted)
    return Project(root, engine=engine, address=cluster.address if cluster else None)


def crops_of(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.jpg")}


@pytest.fixture(scope="module")
def local(planted, tmp_path_factory):
    """What one machine makes."""
    made = project(planted, tmp_path_factory.mktemp("local") / "project", "local")
    made.run(until="predict")
    made.make("embed")
    return made


def same(made, local):
    assert crops_of(made.layout.crops) == crops_of(local.layout.crops)
    for name in ("files", "crops"):
        assert made.table(name).equals(local.table(name))


def assert_same_values(made, local, name, column):
    """To rounding: in what order sums are made depends on the cores of a process, and on what is in a batch."""
    found, wanted = made.table(name), local.table(name)
    assert found.drop(column).equals(wanted.drop(column))
    assert np.allclose(found[column].to_numpy(), wanted[column].to_numpy(), rtol=1e-4, atol=1e-5)


@contextmanager
def going(cluster, parts, n, num_gpus=0):
    """A third machine, which goes without a word once there are `n` parts."""
    more = cluster.add_node(num_cpus=1, num_gpus=num_gpus, object_store_memory=STORE_BYTES)
    cluster.wait_for_nodes()
    gone = threading.Event()

    def remove():
        while len(list(parts.glob("part-*"))) < n and not gone.is_set():
            time.sleep(0.02)
        gone.set()
        cluster.remove_node(more, allow_graceful=False)

    killer = threading.Thread(target=remove)
    killer.start()
    try:
        yield
        assert gone.is_set(), "the work was done before the machine went"
    finally:
        gone.set()
        killer.join()


def with_run_of(local, made):
    """Give a project another's trained run, without its predictions."""
    shutil.copytree(local.layout.runs, made.layout.runs, ignore=shutil.ignore_patterns("predictions*"))
    shutil.copy(local.layout.records / "train.json", made.layout.records)


def test_every_stage_makes_the_same_tables(cluster, planted, local, tmp_path):
    made = project(planted, tmp_path / "project", "ray", cluster)
    made.run(until="split")
    same(made, local)
    with_run_of(local, made)
    made.make("predict")
    assert_same_values(made, local, "predictions", "scores")
    made.make("embed")
    assert_same_values(made, local, "embeddings", "embedding")


def test_processes_that_keep_a_gpu_give_the_same_scores(cluster, cards, planted, local, tmp_path, monkeypatch):
    """On this machine they compute on its cores: what is tested is who does what, and what becomes of it."""
    monkeypatch.setattr(predict_stage, "PART_ROWS", 4)
    made = project(planted, tmp_path / "project", "ray", cluster)
    made.run(until="split")
    with_run_of(local, made)
    made.make("predict")
    assert_same_values(made, local, "predictions", "scores")


@pytest.fixture(scope="module")
def store(planted):
    """URL of a store of the images."""
    handler = partial(QuietHandler, directory=str(planted.images))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format, *args):
        pass


@pytest.mark.parametrize("stream", [False, True])
def test_images_of_a_store_come_alike(cluster, planted, local, store, tmp_path, stream):
    made = {}
    for engine in ("local", "ray"):
        root = write_project(
            tmp_path / engine, planted, fetch={"stream": stream, "key": "{file_name}"}, max_failures=100
        )
        source = {"annotations": [str(planted.annotations)], "images": store}
        project_file.set_values(root / "trapline.yaml", "datasets", {DATASET: source})
        made[engine] = Project(root, engine=engine, address=cluster.address if engine == "ray" else None)
        made[engine].run(until="crop")
    same(made["ray"], made["local"])
    assert crops_of(made["ray"].layout.crops) == crops_of(local.layout.crops)
    fetched = made["ray"].layout.root / "images"
    assert len(list(fetched.rglob("*.jpg"))) == (0 if stream else made["ray"].table("files")["bytes"].count())


def test_new_images_are_classified_alike(cluster, planted, local, tmp_path):
    cfg, run = NewImagesConfig(precision="fp32"), PredictConfig(run=str(next(local.layout.runs.iterdir())))
    engines = {"here": LOCAL, "there": Ray(cluster.address, folder=planted.images)}
    for name, engine in engines.items():
        out = [tmp_path / f"{name}.parquet"]
        predict_images(str(planted.images), out, cfg, run, log=Log(), engine=engine)
    here, there = (pl.read_parquet(tmp_path / f"{name}.parquet") for name in engines)
    assert here.height > 100
    assert there["file", "failure"].equals(here["file", "failure"])
    assert np.allclose(there["scores"].drop_nulls().to_numpy(), here["scores"].drop_nulls().to_numpy(), atol=1e-5)


def test_crop_and_predict_while_a_machine_goes(cluster, planted, local, tmp_path, monkeypatch):
    monkeypatch.setattr(crop_stage, "PART_IMAGES", 2)
    monkeypatch.setattr(predict_stage, "PART_ROWS", 4)
    made = project(planted, tmp_path / "project", "ray", cluster)
    made.run(until="fetch")
    with going(cluster, made.layout.parts("crop"), 3):
        made.run(until="split")
    same(made, local)
    with_run_of(local, made)
    run = next(made.layout.runs.iterdir())
    with going(cluster, run / "predictions", 2):
        made.make("predict")
    assert_same_values(made, local, "predictions", "scores")


def test_an_image_that_kills_its_decoder_is_listed_and_the_rest_goes_on(cluster, planted, local, tmp_path, monkeypatch):
    made = project(planted, tmp_path / "project", "ray", cluster)
    made.run(until="fetch")
    good = local.table("crops").drop_nulls("path")
    poison = good["image_id"].sort()[0]
    monkeypatch.setattr(crop_stage, "_Cropping", partial(works.Poisoned, poison))
    made.run(until="crop", max_failures=1000)
    found, wanted = made.table("crops"), local.table("crops")
    assert found.filter(pl.col("image_id") != poison).equals(wanted.filter(pl.col("image_id") != poison))
    killed = found.filter(pl.col("image_id") == poison)
    assert killed["crop_id"].equals(wanted.filter(pl.col("image_id") == poison)["crop_id"])
    assert killed["failure"].str.contains("the process that reads it dies").all()
    assert "the process that reads it dies" in (made.layout.root / "failures.csv").read_text()


KILLED_DRIVER = """
import sys
from trapline import Project
from trapline.apps.predict_images import predict_images
from trapline.core.config import PredictConfig
from trapline.stages import crop
crop.PART_IMAGES = 2
Project(sys.argv[1], engine="ray", address=sys.argv[2]).run(until="crop")
"""


def test_a_driver_that_is_killed_goes_on(cluster, planted, local, tmp_path):
    made = project(planted, tmp_path / "project", "ray", cluster)
    made.run(until="fetch")
    parts = made.layout.parts("crop")
    driver = subprocess.Popen([sys.executable, "-c", KILLED_DRIVER, str(made.layout.root), cluster.address])
    while len(list(parts.glob("part-*"))) < 3 and driver.poll() is None:
        time.sleep(0.01)
    driver.kill()
    assert driver.wait() == -9
    kept = Parts(parts).read()
    assert kept is not None
    assert 0 < kept.height < local.table("crops").height
    before = {path: (made.layout.crops / path).stat().st_ino for path in kept["path"].drop_nulls()}
    made.run(until="split")
    same(made, local)
    assert {path: (made.layout.crops / path).stat().st_ino for path in before} == before  # not made again


# -- training -----------------------------------------------------------------------------------------------------


def processes_that_train():
    """Process ids of Ray Train's workers on this machine, the youngest first."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                if (entry / "cmdline").read_bytes().startswith(b"ray::RayTrainWorker"):
                    found.append(int(entry.name))
    return sorted(found, reverse=True)


@pytest.mark.parametrize("which", [0, -1])
def test_training_together_goes_on_when_a_process_is_killed(cluster, planted, local, tmp_path, which):
    made = write_project(tmp_path / "project", planted, train=QUICK.model_copy(update={"epochs": 5}))
    log = Log()
    opened = Project(made, log, engine="ray", address=cluster.address, workers=2)
    opened.run(until="split")
    killed = []

    def kill():
        while not list(opened.layout.runs.glob("*/checkpoints/last.pt")):
            time.sleep(0.02)
        killed.append(processes_that_train()[which])
        os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    opened.make("train")
    killer.join()
    assert killed
    (run,) = opened.layout.runs.iterdir()
    done = msgspec.json.decode((run / "done.json").read_bytes())
    assert done["epochs"] == 5
    lines = [msgspec.json.decode(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines if "epoch" in line] == list(range(6))  # each once, the probe among them
    assert any("goes on from its checkpoint" in note for note in log.notes)
    assert not (run / "ray").exists()
    opened.make("predict")
