"""Tests of the RayJobs: one version of Ray, time limits and resources of the pods. No cluster is started."""

from __future__ import annotations

import re
from typing import Any

import yaml

from tests.cluster.manifests import (
    CLUSTER,
    ENSEMBLE,
    LAUNCHER,
    NIGHTLY,
    RAYJOBS,
    ROOT,
    containers,
    parsed,
    pinned_version,
    pods,
)


@RAYJOBS
def test_image_and_cluster_have_the_same_version_of_ray(rayjob: dict[str, Any]) -> None:
    assert rayjob["spec"]["rayClusterSpec"]["rayVersion"] == pinned_version()
    images = {container["image"] for container in containers(*pods(rayjob))}
    assert {image.rpartition(":")[2] for image in images} == {pinned_version()}
    assert len(images) == 1


def test_the_launcher_and_the_commands_of_the_page_have_the_same_version_of_ray() -> None:
    setup = "\n".join(LAUNCHER["setup_commands"])
    assert re.findall(r"ray\[[a-z,]+\]==([\d.]+)", setup) == [pinned_version()]
    for name in ("cluster/Dockerfile", "cluster/ray-cluster.yaml", "docs/cluster.md"):
        tags = re.findall(r"(?:reconpatch-ray(?:-cuda)?:|'ray\[default\]==)([\d.]+\d)", (ROOT / name).read_text())
        assert set(tags) == {pinned_version()}, name


def test_the_package_allows_the_pinned_version_of_ray() -> None:
    match = re.search(r'"ray\[default,train\]>=([\d.]+)"', (ROOT / "pyproject.toml").read_text())
    assert match
    lowest, pinned = (tuple(map(int, version.split("."))) for version in (match[1], pinned_version()))
    assert pinned >= lowest


@RAYJOBS
def test_every_run_has_a_time_limit_and_its_cluster_is_deleted(rayjob: dict[str, Any]) -> None:
    spec = rayjob["spec"]
    assert spec["submissionMode"] == "K8sJobMode"
    assert spec["shutdownAfterJobFinishes"] is True
    assert 0 < spec["ttlSecondsAfterFinished"] <= 3600
    assert 3600 <= spec["activeDeadlineSeconds"] <= 86400


def test_a_run_is_retried_and_a_nightly_run_is_not() -> None:
    """A second attempt of a nightly run would put the category of a rejected candidate on hold, and exit with 0."""
    assert ENSEMBLE["spec"]["backoffLimit"] == 2
    assert NIGHTLY["spec"]["backoffLimit"] == 0


@RAYJOBS
def test_no_job_runs_on_the_head(rayjob: dict[str, Any]) -> None:
    assert rayjob["spec"]["rayClusterSpec"]["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


@RAYJOBS
def test_all_workers_exist_when_the_run_counts_them_and_may_shrink_later(rayjob: dict[str, Any]) -> None:
    cluster = rayjob["spec"]["rayClusterSpec"]
    assert cluster["enableInTreeAutoscaling"] is True
    for group in cluster["workerGroupSpecs"]:
        assert 1 <= group["minReplicas"] < group["replicas"] <= group["maxReplicas"]


@RAYJOBS
def test_memory_requests_equal_limits(rayjob: dict[str, Any]) -> None:
    autoscaler = rayjob["spec"]["rayClusterSpec"]["autoscalerOptions"]
    for container in [*containers(*pods(rayjob)), autoscaler]:
        assert container["resources"]["requests"]["memory"] == container["resources"]["limits"]["memory"]
    head, worker = pods(rayjob)[:2]
    assert head["containers"][0]["resources"]["limits"] == {"cpu": "2", "memory": "8Gi"}
    limits = worker["containers"][0]["resources"]["limits"]
    assert int(limits["memory"].removesuffix("Gi")) >= 4 * int(limits["cpu"])


@RAYJOBS
def test_weights_are_in_the_folder_that_the_command_names_on_every_node(rayjob: dict[str, Any]) -> None:
    folder = parsed(rayjob["spec"]["entrypoint"])[1]["weights"]
    for pod in pods(rayjob)[:-1]:
        fetch, ray = pod["initContainers"][0], pod["containers"][0]
        assert f"'{folder}')" in fetch["command"][-1]
        compile(fetch["command"][-1], "weights", "exec")
        for container in (fetch, ray):
            assert folder in [mount["mountPath"] for mount in container["volumeMounts"]]


@RAYJOBS
def test_features_are_copied_to_a_disk_and_not_to_memory(rayjob: dict[str, Any]) -> None:
    for pod in pods(rayjob)[1:-1]:
        (mount,) = (mount for mount in pod["containers"][0]["volumeMounts"] if mount["mountPath"] == "/tmp")
        (volume,) = (volume for volume in pod["volumes"] if volume["name"] == mount["name"])
        assert "medium" not in volume["emptyDir"]


def test_both_runs_have_the_same_cluster_except_for_the_time_zone() -> None:
    head = NIGHTLY["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    without = {**head, "env": [variable for variable in head["env"] if variable["name"] != "TZ"]}
    clusters = [yaml.safe_dump(rayjob["spec"]["rayClusterSpec"], sort_keys=True) for rayjob in (ENSEMBLE, NIGHTLY)]
    nightly = yaml.safe_load(clusters[1])
    nightly["headGroupSpec"]["template"]["spec"]["containers"][0] = without
    assert yaml.safe_load(clusters[0]) == nightly
    assert ENSEMBLE["spec"]["submitterPodTemplate"] == NIGHTLY["spec"]["submitterPodTemplate"]


def test_the_commented_out_group_for_gpus_is_valid() -> None:
    lines = (CLUSTER / "rayjob-ensemble.yaml").read_text().splitlines()
    start = lines.index("      # - groupName: gpu")
    end = next(number for number in range(start, len(lines)) if not lines[number].startswith("      #"))
    lines[start:end] = [line.replace("      # ", "      ", 1) for line in lines[start:end]]
    cpu, gpu = yaml.safe_load("\n".join(lines))["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert cpu.keys() == gpu.keys()
    (ray,) = gpu["template"]["spec"]["containers"]
    assert ray["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert ray["volumeMounts"] == cpu["template"]["spec"]["containers"][0]["volumeMounts"]
    assert parsed(f"{ENSEMBLE['spec']['entrypoint']} --gpus-per-actor 1 --workers 2")[1]["gpus_per_actor"] == 1
