"""The example clusters of docs/scale: Ray's own schema takes one, the other asks for what a RayJob needs."""

import json
from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML

FOLDER = Path(__file__).parents[1] / "docs" / "scale"


def load(name):
    return YAML(typ="safe").load((FOLDER / name).read_text())


def test_rays_launcher_takes_the_cluster():
    ray = pytest.importorskip("ray")
    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())
    cluster = load("ray-cluster.yaml")
    jsonschema.validate(cluster, schema)
    assert cluster["head_node_type"] in cluster["available_node_types"]
    for node in cluster["available_node_types"].values():
        assert "InstanceType" in node["node_config"]
    assert cluster["max_workers"] >= cluster["available_node_types"]["worker"]["max_workers"]


def test_both_name_the_ray_that_trapline_is_tested_with():
    text = (FOLDER.parents[1] / "pyproject.toml").read_text()
    job = load("kuberay.yaml")
    version = job["spec"]["rayClusterSpec"]["rayVersion"]
    assert f'"ray=={version}"' in text
    assert f":{version}-" in load("ray-cluster.yaml")["docker"]["image"]


def test_nobody_gets_in_without_a_token():
    cluster = load("ray-cluster.yaml")
    assert "--env=RAY_AUTH_MODE=token" in cluster["docker"]["run_options"]
    assert cluster["file_mounts"]["/home/ray/.ray/auth_token"] == "~/.ray/auth_token"
    assert load("kuberay.yaml")["spec"]["rayClusterSpec"]["authOptions"] == {"mode": "token"}


def test_the_job_is_whole():
    spec = load("kuberay.yaml")["spec"]
    assert spec["entrypoint"].startswith("trapline run ")
    cluster = spec["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for group in groups:
        pod = group["template"]["spec"]
        volumes = {volume["name"] for volume in pod["volumes"]}
        (container,) = pod["containers"]
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
        assert container["resources"]["requests"] == container["resources"]["limits"]
    worker = cluster["workerGroupSpecs"][0]
    assert worker["minReplicas"] <= worker["replicas"] <= worker["maxReplicas"]
