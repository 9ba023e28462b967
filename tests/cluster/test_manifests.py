"""What the cluster's files promise: commands that exist, one version of Ray, no secrets, an end to every run.

Nothing is started: neither Ray nor Kubernetes. `night.sh` runs against a kubectl that says what it is told to.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from pipelines.cli import main

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "cluster"
DOCKERFILE = (CLUSTER / "Dockerfile").read_text()
LAUNCHER: dict[str, Any] = yaml.safe_load((CLUSTER / "ray-cluster.yaml").read_text())
ENSEMBLE: dict[str, Any] = yaml.safe_load((CLUSTER / "rayjob-ensemble.yaml").read_text())
NIGHT: dict[str, dict[str, Any]] = {
    document["kind"]: document for document in yaml.safe_load_all((CLUSTER / "cronjob-nightly.yaml").read_text())
}
CONFIG: dict[str, str] = NIGHT["ConfigMap"]["data"]
NIGHTLY: dict[str, Any] = yaml.safe_load(CONFIG["rayjob.yaml"])
RAYJOBS = pytest.mark.parametrize("rayjob", [ENSEMBLE, NIGHTLY], ids=["ensemble", "nightly"])


def nodes(value: Any) -> Iterator[Any]:
    """A document and everything in it."""
    yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from nodes(each)


def pods(rayjob: dict[str, Any]) -> list[dict[str, Any]]:
    """The pods' specs: the head's first, the submitter's last."""
    cluster = rayjob["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups] + [rayjob["spec"]["submitterPodTemplate"]["spec"]]


def containers(*pods: dict[str, Any]) -> list[dict[str, Any]]:
    return [each for pod in pods for each in [*pod.get("initContainers", []), *pod["containers"]]]


def environment(container: dict[str, Any]) -> dict[str, Any]:
    return {variable["name"]: variable.get("value") for variable in container.get("env", [])}


def pinned_version() -> str:
    found = re.search(r"^ARG RAY_VERSION=(\S+)$", DOCKERFILE, re.MULTILINE)
    assert found
    return found[1]


def parsed(line: str) -> tuple[str, dict[str, Any]]:
    """A command's name and its options as the command line reads them; click refuses what it does not know."""
    words = shlex.split(line)
    assert words.pop(0) == "reconpatch-run"
    # Under a context of the whole program's: click keeps a command's first idea of what -h is called.
    context = main.make_context("reconpatch-run", words.copy())
    command: click.Command = main
    names = []
    while isinstance(command, click.Group):
        names.append(words.pop(0))
        command = command.commands[names[-1]]
    return " ".join(names), command.make_context(names[-1], words, parent=context).params


def commands_in(text: str) -> list[str]:
    """The lines of a text that call the package, continued ones in one, without comment marks and what is quoted on."""
    text = re.sub(r"^# ?", "", text, flags=re.MULTILINE)
    text = re.sub(r"\s*\\\n\s*", " ", text)
    return re.findall(r"(?m)(?:^    |[ '`])(reconpatch-run [a-z-]+(?: [a-z]+)? --[^'`#\n]*)", text)


# Ray's version


@RAYJOBS
def test_image_and_cluster_have_the_ray_that_the_image_is_built_with(rayjob: dict[str, Any]) -> None:
    assert rayjob["spec"]["rayClusterSpec"]["rayVersion"] == pinned_version()
    assert {each["image"].rpartition(":")[2] for each in containers(*pods(rayjob))} == {pinned_version()}
    assert len({each["image"] for each in containers(*pods(rayjob))}) == 1


def test_the_launcher_and_the_commands_of_the_page_have_the_same() -> None:
    setup = "\n".join(LAUNCHER["setup_commands"])
    assert re.findall(r"ray\[[a-z,]+\]==([\d.]+)", setup) == [pinned_version()]
    for name in ("cluster/Dockerfile", "cluster/ray-cluster.yaml", "docs/cluster.md"):
        tags = re.findall(r"(?:reconpatch-ray(?:-cuda)?:|'ray\[default\]==)([\d.]+\d)", (ROOT / name).read_text())
        assert set(tags) == {pinned_version()}, name


def test_the_pin_is_one_that_the_package_allows() -> None:
    found = re.search(r'"ray\[default,train\]>=([\d.]+)"', (ROOT / "pyproject.toml").read_text())
    assert found
    lowest, pinned = (tuple(map(int, version.split("."))) for version in (found[1], pinned_version()))
    assert pinned >= lowest


# Commands


@RAYJOBS
def test_the_entrypoint_is_a_command_of_this_package_with_everything_in_the_object_store(
    rayjob: dict[str, Any],
) -> None:
    name, options = parsed(rayjob["spec"]["entrypoint"])
    assert rayjob["metadata"]["generateName"] == f"reconpatch-{name}-"
    places = [options[place] for place in ("data", "out", "registry", "scores", "scratch") if place in options]
    assert len(places) >= 3
    assert all(re.fullmatch(r"s3://[\w-]+/[\w/-]+", place) for place in places)
    assert len(set(places)) == len(places)
    # The job finds its cluster in RAY_ADDRESS.
    assert options["address"] is None
    # It passes through two shells.
    assert re.fullmatch(r"[\w\s:/.-]+", rayjob["spec"]["entrypoint"])


def test_the_run_is_the_papers_ensemble_at_480_pixels() -> None:
    assert parsed(ENSEMBLE["spec"]["entrypoint"])[1]["image_size"] == 480


def test_a_night_has_a_deadline_and_waits_for_a_dead_ones_lease() -> None:
    options = parsed(NIGHTLY["spec"]["entrypoint"])[1]
    assert options["deadline"] == "06:00"
    assert options["wait"] is True


@pytest.mark.parametrize("name", ["docs/cluster.md", "cluster/ray-cluster.yaml"])
def test_commands_that_people_are_told_exist(name: str) -> None:
    found = commands_in((ROOT / name).read_text())
    assert found
    for line in found:
        parsed(line)


def test_the_launchers_command_names_the_cluster() -> None:
    """What `ray exec` runs has no RAY_ADDRESS: without --address it would start a Ray of its own."""
    lines = commands_in((CLUSTER / "ray-cluster.yaml").read_text())
    assert [parsed(line)[1]["address"] for line in lines] == ["auto"]


def test_a_command_that_does_not_exist_is_found() -> None:
    told = commands_in("    reconpatch-run nightly --data s3://a/b \\\n        --registry c --scores d --until 06:00\n")
    assert told == ["reconpatch-run nightly --data s3://a/b --registry c --scores d --until 06:00"]
    with pytest.raises(click.NoSuchOption):
        parsed(told[0])


# A cluster for a run


@RAYJOBS
def test_every_run_has_an_end_and_its_cluster_goes(rayjob: dict[str, Any]) -> None:
    spec = rayjob["spec"]
    assert spec["submissionMode"] == "K8sJobMode"
    assert spec["shutdownAfterJobFinishes"] is True
    assert 0 < spec["ttlSecondsAfterFinished"] <= 3600
    assert 3600 <= spec["activeDeadlineSeconds"] <= 86400


def test_a_run_is_tried_again_and_a_nights_verdict_is_not() -> None:
    """A second attempt of a night would call the refused candidate held back, and end with 0."""
    assert ENSEMBLE["spec"]["backoffLimit"] == 2
    assert NIGHTLY["spec"]["backoffLimit"] == 0


@RAYJOBS
def test_no_unit_of_work_runs_on_the_head(rayjob: dict[str, Any]) -> None:
    assert rayjob["spec"]["rayClusterSpec"]["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


@RAYJOBS
def test_workers_are_there_when_the_run_counts_them_and_shrink_later(rayjob: dict[str, Any]) -> None:
    cluster = rayjob["spec"]["rayClusterSpec"]
    assert cluster["enableInTreeAutoscaling"] is True
    for group in cluster["workerGroupSpecs"]:
        assert 1 <= group["minReplicas"] < group["replicas"] <= group["maxReplicas"]


@RAYJOBS
def test_memory_is_asked_for_as_it_is_limited(rayjob: dict[str, Any]) -> None:
    autoscaler = rayjob["spec"]["rayClusterSpec"]["autoscalerOptions"]
    for each in [*containers(*pods(rayjob)), autoscaler]:
        assert each["resources"]["requests"]["memory"] == each["resources"]["limits"]["memory"]
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
        for each in (fetch, ray):
            assert folder in [mount["mountPath"] for mount in each["volumeMounts"]]


@RAYJOBS
def test_features_are_copied_to_a_disk_and_not_to_memory(rayjob: dict[str, Any]) -> None:
    for pod in pods(rayjob)[1:-1]:
        (mount,) = (each for each in pod["containers"][0]["volumeMounts"] if each["mountPath"] == "/tmp")
        (volume,) = (each for each in pod["volumes"] if each["name"] == mount["name"])
        assert "medium" not in volume["emptyDir"]


def test_both_runs_have_the_same_cluster_but_for_the_time_zone() -> None:
    head = NIGHTLY["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    without = {**head, "env": [variable for variable in head["env"] if variable["name"] != "TZ"]}
    clusters = [yaml.safe_dump(rayjob["spec"]["rayClusterSpec"], sort_keys=True) for rayjob in (ENSEMBLE, NIGHTLY)]
    nightly = yaml.safe_load(clusters[1])
    nightly["headGroupSpec"]["template"]["spec"]["containers"][0] = without
    assert yaml.safe_load(clusters[0]) == nightly
    assert ENSEMBLE["spec"]["submitterPodTemplate"] == NIGHTLY["spec"]["submitterPodTemplate"]


def test_the_group_for_gpus_is_one_comment_mark_away() -> None:
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


# Secrets and rights


@pytest.mark.parametrize("path", sorted(CLUSTER.iterdir()), ids=lambda path: path.name)
def test_no_secret_stands_in_a_file(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"\bA(?:KIA|SIA)[0-9A-Z]{16}\b", text)
    assert not re.search(r"://[^/\s@]+@", text)
    assert not re.search(r"(?i)(?:secret|session|access)[a-z_]*(?:key|token)\s*[=:]\s*['\"]?[\w/+]{8}", text)
    documents = list(yaml.safe_load_all(text)) if path.suffix == ".yaml" else []
    documents += [NIGHTLY] if path.name == "cronjob-nightly.yaml" else []
    for node in nodes(documents):
        if isinstance(node, dict):
            assert node.get("kind") != "Secret"
            if re.search(r"(?i)key|secret|token|password", str(node.get("name", ""))):
                assert "value" not in node


@RAYJOBS
def test_keys_come_from_a_secret_where_the_object_store_is_spoken_to(rayjob: dict[str, Any]) -> None:
    for each in containers(*pods(rayjob)[:-1]):
        assert each["envFrom"] == [{"secretRef": {"name": "reconpatch-s3"}}]
    assert "kubectl -n reconpatch create secret generic reconpatch-s3" in (ROOT / "docs" / "cluster.md").read_text()


@RAYJOBS
def test_a_ray_without_a_token_is_open_to_everybody(rayjob: dict[str, Any]) -> None:
    assert rayjob["spec"]["rayClusterSpec"]["authOptions"] == {"mode": "token"}


def test_nobody_is_root() -> None:
    night = NIGHT["CronJob"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    for pod in [*pods(ENSEMBLE), *pods(NIGHTLY), night]:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        for each in containers(pod):
            assert each["securityContext"]["allowPrivilegeEscalation"] is False
            assert each["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    users = re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE)
    assert users[-1].split(":")[0] == str(pods(ENSEMBLE)[0]["securityContext"]["runAsUser"])


def test_the_night_may_create_rayjobs_and_nothing_else() -> None:
    account, role, binding = NIGHT["ServiceAccount"], NIGHT["Role"], NIGHT["RoleBinding"]
    assert role["rules"] == [
        {"apiGroups": ["ray.io"], "resources": ["rayjobs"], "verbs": ["create", "get", "list", "watch", "delete"]}
    ]
    assert binding["roleRef"] == {
        "apiGroup": "rbac.authorization.k8s.io",
        "kind": "Role",
        "name": role["metadata"]["name"],
    }
    assert binding["subjects"] == [{"kind": "ServiceAccount", **account["metadata"]}]
    pod = NIGHT["CronJob"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == account["metadata"]["name"]
    assert {each["metadata"]["namespace"] for each in [*NIGHT.values(), NIGHTLY, ENSEMBLE]} == {"reconpatch"}


# The night


def test_one_night_at_a_time_on_the_factorys_clock() -> None:
    cron = NIGHT["CronJob"]["spec"]
    assert cron["concurrencyPolicy"] == "Forbid"
    assert cron["successfulJobsHistoryLimit"] > 0
    assert cron["failedJobsHistoryLimit"] > 0
    head = pods(NIGHTLY)[0]["containers"][0]
    assert environment(head)["TZ"] == cron["timeZone"]


def test_the_night_fits_between_its_start_and_the_next() -> None:
    cron = NIGHT["CronJob"]["spec"]
    minute, hour = (int(part) for part in cron["schedule"].split()[:2])
    deadline = [int(part) for part in parsed(NIGHTLY["spec"]["entrypoint"])[1]["deadline"].split(":")]
    until_deadline = ((deadline[0] - hour) % 24 * 60 + deadline[1] - minute) * 60
    ends, waits = NIGHTLY["spec"]["activeDeadlineSeconds"], cron["jobTemplate"]["spec"]["activeDeadlineSeconds"]
    assert until_deadline < ends < waits < 86400
    assert 0 < cron["startingDeadlineSeconds"] < until_deadline


def test_the_script_is_where_the_job_looks_for_it() -> None:
    pod = NIGHT["CronJob"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (night,) = pod["containers"]
    mounts = {mount["mountPath"]: mount["name"] for mount in night["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    script = Path(night["command"][-1])
    assert script.name in CONFIG
    assert volumes[mounts[str(script.parent)]]["configMap"]["name"] == NIGHT["ConfigMap"]["metadata"]["name"]
    assert f"{script.parent}/rayjob.yaml" in CONFIG[script.name]
    assert "NIGHT" in environment(night)


def test_the_nights_own_verdicts_are_final_and_what_failed_around_it_is_tried_again() -> None:
    job = NIGHT["CronJob"]["spec"]["jobTemplate"]["spec"]
    assert job["template"]["spec"]["restartPolicy"] == "Never"
    assert job["backoffLimit"] == 1
    moved, verdict = job["podFailurePolicy"]["rules"]
    assert moved == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    assert verdict["action"] == "FailJob"
    assert verdict["onExitCodes"]["containerName"] == job["template"]["spec"]["containers"][0]["name"]
    assert verdict["onExitCodes"]["operator"] == "In"
    assert {1, 2, 3} <= set(verdict["onExitCodes"]["values"])
    assert not {70, 75} & set(verdict["onExitCodes"]["values"])


KUBECTL = r"""#!/bin/sh
# States come from a file, a line a question, the last one again and again.
case "$*" in
  "get rayjobs -l night=$NIGHT "*) [ ! -e "$STORE/found" ] || cat "$STORE/found" ;;
  "get rayjobs "*) ;;
  "label --local "*) cat "$STORE/rayjob.yaml" ;;
  "create -f - -o name") cat > /dev/null; echo new >> "$STORE/created"; echo rayjob.ray.io/new ;;
  "get rayjob.ray.io/"*.status.jobDeploymentStatus*)
    head -n 1 "$STORE/states"
    [ "$(wc -l < "$STORE/states")" -eq 1 ] || sed -i 1d "$STORE/states" ;;
  *status.message*) cat "$STORE/message" ;;
  *) exit 1 ;;
esac
"""
GOES_ON = ["//", "Initializing//", "Running/RUNNING/"]
LOST = "Failed/RUNNING/JobStatusCheckTimeoutExceeded"
LOST_MESSAGE = "Job status checks have been failing since 2026-01-01 23:00:00; exceeded timeout of 300s"


def of_ray(code: int) -> str:
    """The message of Ray's job supervisor: the code, then the end of the log, in which anything may stand."""
    return (
        f"Job entrypoint command failed with exit code {code}, last available logs (truncated to 20,000 chars):\n"
        "screw: the candidate is refused: \\n100 %\ncommand failed with exit code 9, says the log"
    )


@pytest.fixture
def night(tmp_path: Path) -> Callable[..., tuple[int, int]]:
    """Runs night.sh; returns its exit code and how many RayJobs it has created."""
    binaries = tmp_path / "bin"
    binaries.mkdir()
    for name, script in {"kubectl": KUBECTL, "sleep": "#!/bin/sh\n"}.items():
        (binaries / name).write_text(script)
        (binaries / name).chmod(0o755)
    for name, text in CONFIG.items():
        (tmp_path / name).write_text(text)

    def run(states: list[str], message: str = "", found: str | None = None) -> tuple[int, int]:
        (tmp_path / "states").write_text("".join(f"{state}\n" for state in states))
        (tmp_path / "message").write_text(message)
        if found is not None:
            (tmp_path / "found").write_text(found)
        environment = {"PATH": f"{binaries}:{os.environ['PATH']}", "STORE": str(tmp_path), "NIGHT": "tonight"}
        done = subprocess.run(["sh", tmp_path / "night.sh"], env=environment, capture_output=True, timeout=30)
        created = tmp_path / "created"
        return done.returncode, len(created.read_text().splitlines()) if created.exists() else 0

    return run


@pytest.mark.parametrize(
    ("last", "message", "code"),
    [
        ("Complete/SUCCEEDED/", "", 0),
        ("Failed/FAILED/AppFailed", of_ray(1), 1),
        ("Failed/FAILED/AppFailed", of_ray(2), 2),
        ("Failed/FAILED/AppFailed", of_ray(3), 3),
        ("Failed/FAILED/AppFailed", of_ray(-9), 70),
        (LOST, LOST_MESSAGE, 70),
        ("Failed/RUNNING/DeadlineExceeded", "The RayJob has passed the activeDeadlineSeconds.", 124),
        ("Complete/STOPPED/", "", 143),
        ("", "", 143),
        ("ValidationFailed//ValidationFailed", "The RayJob spec is invalid", 2),
    ],
    ids=["done", "some failed", "usage", "refused", "killed", "lost", "out of time", "stopped", "deleted", "invalid"],
)
def test_the_job_ends_as_the_night_did(
    night: Callable[..., tuple[int, int]], last: str, message: str, code: int
) -> None:
    assert night([*GOES_ON, last], message) == (code, 1)


def test_a_pod_that_takes_anothers_place_waits_for_the_same_rayjob(night: Callable[..., tuple[int, int]]) -> None:
    assert night([*GOES_ON, "Failed/FAILED/AppFailed"], of_ray(3), found="rayjob.ray.io/old\n") == (3, 0)


def test_a_night_that_ended_meanwhile_is_told_and_not_done_again(night: Callable[..., tuple[int, int]]) -> None:
    assert night(["Failed/FAILED/AppFailed"], of_ray(3), found="rayjob.ray.io/old\n") == (3, 0)


def test_a_night_whose_cluster_was_lost_is_begun_again(night: Callable[..., tuple[int, int]]) -> None:
    states = [LOST, *GOES_ON, "Complete/SUCCEEDED/"]
    assert night(states, LOST_MESSAGE, found="rayjob.ray.io/older\nrayjob.ray.io/old\n") == (0, 1)


def test_where_the_api_does_not_answer_nothing_is_created(
    night: Callable[..., tuple[int, int]], tmp_path: Path
) -> None:
    (tmp_path / "bin" / "kubectl").write_text("#!/bin/sh\nexit 1\n")
    assert night([""]) == (75, 0)


# The image


def test_the_image_is_built_from_files_that_exist_and_that_docker_is_given() -> None:
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    copied = [word for line in re.findall(r"^COPY (.+)$", DOCKERFILE, re.MULTILINE) for word in line.split()[1:-1]]
    assert {"pyproject.toml", "README.md", "LICENSE", "reconpatch", "pipelines"} == set(copied)
    for source in copied:
        assert (ROOT / source).exists()
        matching = [rule for rule in rules if fnmatch(source, rule.removeprefix("!"))]
        assert matching[-1].startswith("!"), f".dockerignore leaves {source} out"


def test_the_image_has_cpu_torch_by_default_and_reaches_for_no_hub() -> None:
    assert re.search(r"^FROM rayproject/ray:\$\{RAY_VERSION\}-py311$", DOCKERFILE, re.MULTILINE)
    assert re.search(r"^ARG TORCH_INDEX=https://\S+/cpu$", DOCKERFILE, re.MULTILINE)
    assert "HF_HUB_OFFLINE=1" in DOCKERFILE
    assert "TZ=Etc/UTC" in DOCKERFILE


# The launcher


def test_the_head_is_on_demand_and_the_workers_on_the_spot_market() -> None:
    types = dict(LAUNCHER["available_node_types"])
    head = types.pop(LAUNCHER["head_node_type"])
    (worker,) = types.values()
    assert head["resources"] == {"CPU": 0}
    assert "--num-cpus=0" in LAUNCHER["head_start_ray_commands"][-1]
    assert "InstanceMarketOptions" not in head["node_config"]
    assert worker["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert 1 <= worker["min_workers"] <= worker["max_workers"] <= LAUNCHER["max_workers"]


def test_machines_have_roles_and_no_keys() -> None:
    for kind in LAUNCHER["available_node_types"].values():
        assert kind["node_config"]["IamInstanceProfile"].keys() == {"Name"}
    assert LAUNCHER["auth"].keys() == {"ssh_user"}


def test_the_launcher_installs_this_package_from_files_that_exist() -> None:
    for target, source in LAUNCHER["file_mounts"].items():
        assert (ROOT / source).exists()
        assert Path(target).name == source
    (folder,) = {str(Path(target).parent) for target in LAUNCHER["file_mounts"]}
    assert any("pip install" in command and command.endswith(f" {folder}") for command in LAUNCHER["setup_commands"])


def test_the_launchers_weights_are_where_its_command_looks() -> None:
    (line,) = commands_in((CLUSTER / "ray-cluster.yaml").read_text())
    assert f"'{parsed(line)[1]['weights']}')" in LAUNCHER["setup_commands"][-1]


# The page


def test_the_page_names_files_that_exist() -> None:
    page = (ROOT / "docs" / "cluster.md").read_text()
    named = set(re.findall(r"cluster/[\w.-]+\.yaml|cluster/Dockerfile", page))
    assert {str(path.relative_to(ROOT)) for path in CLUSTER.iterdir()} == named
