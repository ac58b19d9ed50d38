"""Two machines of a Ray cluster (two raylets of this one) do what one machine does, whatever dies on the way."""

import shutil
import threading
import time
from functools import partial

import pytest

import works
from projects import draw_small, write_project
from trapline import Project
from trapline.core.errors import InputError
from trapline.engine.local import LOCAL
from trapline.engine.ray import Ray

ray = pytest.importorskip("ray")
cluster_utils = pytest.importorskip("ray.cluster_utils")

pytestmark = pytest.mark.slow
STORE_BYTES = 80_000_000


@pytest.fixture(scope="module")
def cluster():
    """Two machines with one core each."""
    cluster = cluster_utils.Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": STORE_BYTES}
    )
    cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
    cluster.wait_for_nodes()
    yield cluster
    ray.shutdown()
    cluster.shutdown()


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


def test_a_machine_that_goes_takes_nothing_along(cluster, tmp_path, seen):
    more = cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
    cluster.wait_for_nodes()

    def remove():
        while len(list((tmp_path / "parts").glob("part-*"))) < 4:
            time.sleep(0.05)
        cluster.remove_node(more, allow_graceful=False)

    killer = threading.Thread(target=remove)
    killer.start()
    table = works.numbers(80)
    found = works.doubled(partial(works.Doubling, seen, slow_s=0.1), Ray(cluster.address), tmp_path, table, part_rows=2)
    killer.join()
    assert found["twice"].to_list() == [2 * i for i in range(80)]
    assert found["failure"].null_count() == 80


def test_what_cannot_work_says_so(cluster, tmp_path, seen):
    with pytest.raises(FileNotFoundError, match="unmade"):
        works.doubled(partial(works.Doubling, seen / "unmade"), Ray(cluster.address), tmp_path)
    with pytest.raises(InputError, match="does not see"):
        works.doubled(partial(works.Doubling, seen), Ray(cluster.address, folder=tmp_path / "elsewhere"), tmp_path)


# -- the stages ---------------------------------------------------------------------------------------------------


def project(planted, folder, engine, cluster=None):
    root = folder if folder.exists() else write_project(folder, planted, embed={"model": "test_efficientnet"})
    return Project(root, engine=engine, address=cluster.address if cluster else None)


def crops_of(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.jpg")}


@pytest.fixture(scope="module")
def local(planted, tmp_path_factory):
    """What one machine makes."""
    made = project(planted, tmp_path_factory.mktemp("local") / "project", "local")
    made.run(until="predict")
    made.make("embed", EMBED)
    return made


EMBED = {"model": "test_efficientnet.r160_in1k"}


def same(made, local):
    assert crops_of(made.layout.crops) == crops_of(local.layout.crops)
    for name in ("files", "crops"):
        assert made.table(name).equals(local.table(name))


def test_every_stage_makes_the_same_tables(cluster, planted, local, tmp_path):
    made = project(planted, tmp_path / "project", "ray", cluster)
    made.run(until="split")
    same(made, local)
    shutil.copytree(local.layout.runs, made.layout.runs)
    shutil.copy(local.layout.records / "train.json", made.layout.records)
    for run in made.layout.runs.iterdir():
        shutil.rmtree(run / "predictions")
        (run / "predictions.parquet").unlink()
    made.make("predict")
    assert made.table("predictions").equals(local.table("predictions"))
