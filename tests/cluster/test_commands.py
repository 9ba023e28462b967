"""Tests that the commands and files named in the folder `cluster` and on its page exist."""

from __future__ import annotations

import re
from typing import Any

import click
import pytest

from tests.cluster.manifests import CLUSTER, ENSEMBLE, NIGHTLY, RAYJOBS, ROOT, commands_in, parsed


@RAYJOBS
def test_the_entrypoint_is_a_command_of_this_package_with_everything_in_the_object_store(
    rayjob: dict[str, Any],
) -> None:
    name, options = parsed(rayjob["spec"]["entrypoint"])
    assert rayjob["metadata"]["generateName"] == f"reconpatch-{name}-"
    uris = [options[name] for name in ("data", "out", "registry", "scores", "scratch") if name in options]
    assert len(uris) >= 3
    assert all(re.fullmatch(r"s3://[\w-]+/[\w/-]+", uri) for uri in uris)
    assert len(set(uris)) == len(uris)
    # The job gets the address of its cluster from RAY_ADDRESS.
    assert options["address"] is None
    # Two shells parse the entrypoint, so it contains no special characters.
    assert re.fullmatch(r"[\w\s:/.-]+", rayjob["spec"]["entrypoint"])


def test_the_run_has_the_ensemble_of_the_paper_at_480_pixels() -> None:
    assert parsed(ENSEMBLE["spec"]["entrypoint"])[1]["image_size"] == 480


def test_a_nightly_run_has_a_deadline_and_waits_for_the_lease_of_a_killed_one() -> None:
    options = parsed(NIGHTLY["spec"]["entrypoint"])[1]
    assert options["deadline"] == "06:00"
    assert options["wait"] is True


@pytest.mark.parametrize("name", ["docs/cluster.md", "cluster/ray-cluster.yaml"])
def test_documented_commands_exist(name: str) -> None:
    lines = commands_in((ROOT / name).read_text())
    assert lines
    for line in lines:
        parsed(line)


def test_the_launchers_command_names_the_cluster() -> None:
    """RAY_ADDRESS is not set for commands of `ray exec`; without --address they would start a new Ray session."""
    lines = commands_in((CLUSTER / "ray-cluster.yaml").read_text())
    assert [parsed(line)[1]["address"] for line in lines] == ["auto"]


def test_an_option_that_does_not_exist_is_detected() -> None:
    text = "    reconpatch-run nightly --data s3://a/b \\\n        --registry c --scores d --until 06:00\n"
    lines = commands_in(text)
    assert lines == ["reconpatch-run nightly --data s3://a/b --registry c --scores d --until 06:00"]
    with pytest.raises(click.NoSuchOption):
        parsed(lines[0])


def test_the_page_names_files_that_exist() -> None:
    page = (ROOT / "docs" / "cluster.md").read_text()
    named = set(re.findall(r"cluster/[\w.-]+\.yaml|cluster/Dockerfile", page))
    assert {str(path.relative_to(ROOT)) for path in CLUSTER.iterdir()} == named
