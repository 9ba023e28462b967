"""Tests of the Kubernetes job of the nightly run: schedule and exit codes. `night.sh` runs with a fake kubectl."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cluster.manifests import CONFIG, NIGHT, NIGHTLY, environment, parsed, pods


def test_only_one_nightly_run_at_a_time_in_the_time_zone_of_the_factory() -> None:
    cron = NIGHT["CronJob"]["spec"]
    assert cron["concurrencyPolicy"] == "Forbid"
    assert cron["successfulJobsHistoryLimit"] > 0
    assert cron["failedJobsHistoryLimit"] > 0
    head = pods(NIGHTLY)[0]["containers"][0]
    assert environment(head)["TZ"] == cron["timeZone"]


def test_the_time_limits_end_a_nightly_run_before_the_next_one_starts() -> None:
    cron = NIGHT["CronJob"]["spec"]
    minute, hour = (int(part) for part in cron["schedule"].split()[:2])
    deadline = [int(part) for part in parsed(NIGHTLY["spec"]["entrypoint"])[1]["deadline"].split(":")]
    until_deadline = ((deadline[0] - hour) % 24 * 60 + deadline[1] - minute) * 60
    ends, waits = NIGHTLY["spec"]["activeDeadlineSeconds"], cron["jobTemplate"]["spec"]["activeDeadlineSeconds"]
    assert until_deadline < ends < waits < 86400
    assert 0 < cron["startingDeadlineSeconds"] < until_deadline


def test_the_script_is_mounted_at_the_path_that_the_job_runs() -> None:
    pod = NIGHT["CronJob"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (night,) = pod["containers"]
    mounts = {mount["mountPath"]: mount["name"] for mount in night["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    script = Path(night["command"][-1])
    assert script.name in CONFIG
    assert volumes[mounts[str(script.parent)]]["configMap"]["name"] == NIGHT["ConfigMap"]["metadata"]["name"]
    assert f"{script.parent}/rayjob.yaml" in CONFIG[script.name]
    assert "NIGHT" in environment(night)


def test_exit_codes_of_the_nightly_run_are_final_and_other_failures_are_retried() -> None:
    job = NIGHT["CronJob"]["spec"]["jobTemplate"]["spec"]
    assert job["template"]["spec"]["restartPolicy"] == "Never"
    assert job["backoffLimit"] == 1
    disruption, exit_codes = job["podFailurePolicy"]["rules"]
    assert disruption == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    assert exit_codes["action"] == "FailJob"
    assert exit_codes["onExitCodes"]["containerName"] == job["template"]["spec"]["containers"][0]["name"]
    assert exit_codes["onExitCodes"]["operator"] == "In"
    assert {1, 2, 3} <= set(exit_codes["onExitCodes"]["values"])
    assert not {70, 75} & set(exit_codes["onExitCodes"]["values"])


KUBECTL = r"""#!/bin/sh
# Each query of the state returns the next line of a file; the last line is repeated.
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
RUNNING = ["//", "Initializing//", "Running/RUNNING/"]
LOST = "Failed/RUNNING/JobStatusCheckTimeoutExceeded"
LOST_MESSAGE = "Job status checks have been failing since 2026-01-01 23:00:00; exceeded timeout of 300s"


def of_ray(code: int) -> str:
    """Return a message of Ray's job supervisor: the exit code, then the end of the log, which is arbitrary text.

    Args:
        code: Exit code of the command.
    """
    return (
        f"Job entrypoint command failed with exit code {code}, last available logs (truncated to 20,000 chars):\n"
        "screw: the candidate is rejected: \\n100 %\ncommand failed with exit code 9, according to the log"
    )


@pytest.fixture
def run_script(tmp_path: Path) -> Callable[..., tuple[int, int]]:
    """Function that runs night.sh and returns its exit code and the number of RayJobs that it created."""
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
    ids=["done", "some failed", "usage", "rejected", "killed", "lost", "out of time", "stopped", "deleted", "invalid"],
)
def test_the_job_ends_with_the_exit_code_of_the_nightly_run(
    run_script: Callable[..., tuple[int, int]], last: str, message: str, code: int
) -> None:
    assert run_script([*RUNNING, last], message) == (code, 1)


def test_a_replacement_pod_waits_for_the_same_rayjob(run_script: Callable[..., tuple[int, int]]) -> None:
    assert run_script([*RUNNING, "Failed/FAILED/AppFailed"], of_ray(3), found="rayjob.ray.io/old\n") == (3, 0)


def test_a_nightly_run_that_has_ended_is_reported_and_not_repeated(run_script: Callable[..., tuple[int, int]]) -> None:
    assert run_script(["Failed/FAILED/AppFailed"], of_ray(3), found="rayjob.ray.io/old\n") == (3, 0)


def test_a_nightly_run_whose_cluster_was_lost_is_repeated(run_script: Callable[..., tuple[int, int]]) -> None:
    states = [LOST, *RUNNING, "Complete/SUCCEEDED/"]
    assert run_script(states, LOST_MESSAGE, found="rayjob.ray.io/older\nrayjob.ray.io/old\n") == (0, 1)


def test_nothing_is_created_if_the_api_does_not_answer(
    run_script: Callable[..., tuple[int, int]], tmp_path: Path
) -> None:
    (tmp_path / "bin" / "kubectl").write_text("#!/bin/sh\nexit 1\n")
    assert run_script([""]) == (75, 0)
