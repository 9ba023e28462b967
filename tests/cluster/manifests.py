"""The parsed files of the folder `cluster`, and functions to query them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from pipelines.cli.main import main

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
    """Yield a YAML value and all values that it contains.

    Args:
        value: Mapping, list or scalar.
    """
    yield value
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from nodes(child)


def pods(rayjob: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the specs of the pods: that of the head first, that of the submitter last.

    Args:
        rayjob: Manifest of a RayJob.
    """
    cluster = rayjob["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups] + [rayjob["spec"]["submitterPodTemplate"]["spec"]]


def containers(*pods: dict[str, Any]) -> list[dict[str, Any]]:
    """Return all containers of some pods, including init containers.

    Args:
        *pods: Specs of pods.
    """
    return [container for pod in pods for container in [*pod.get("initContainers", []), *pod["containers"]]]


def environment(container: dict[str, Any]) -> dict[str, Any]:
    """Return the environment variables of a container; the value is None if the manifest has none.

    Args:
        container: Spec of a container.
    """
    return {variable["name"]: variable.get("value") for variable in container.get("env", [])}


def pinned_version() -> str:
    """Return the version of Ray that the Dockerfile pins."""
    match = re.search(r"^ARG RAY_VERSION=(\S+)$", DOCKERFILE, re.MULTILINE)
    assert match
    return match[1]


def parsed(line: str) -> tuple[str, dict[str, Any]]:
    """Return the name of a command, and its options as the command line parses them.

    Args:
        line: Call of `reconpatch-run`.

    Raises:
        click.NoSuchOption: An option does not exist.
    """
    words = shlex.split(line)
    assert words.pop(0) == "reconpatch-run"
    # The context of the whole program is needed because click stores the help options of the first context.
    context = main.make_context("reconpatch-run", words.copy())
    command: click.Command = main
    names = []
    while isinstance(command, click.Group):
        names.append(words.pop(0))
        command = command.commands[names[-1]]
    return " ".join(names), command.make_context(names[-1], words, parent=context).params


def commands_in(text: str) -> list[str]:
    """Return the calls of `reconpatch-run` in a text; continued lines are joined, and comment marks removed.

    Args:
        text: Content of a Markdown or YAML file.
    """
    text = re.sub(r"^# ?", "", text, flags=re.MULTILINE)
    text = re.sub(r"\s*\\\n\s*", " ", text)
    return re.findall(r"(?m)(?:^(?:    )?|[ '`])(reconpatch-run [a-z-]+(?: [a-z]+)? --[^'`#\n]*)", text)
