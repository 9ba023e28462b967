"""Commands and files that the cluster's files and their page name: they exist."""

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


def test_the_page_names_files_that_exist() -> None:
    page = (ROOT / "docs" / "cluster.md").read_text()
    named = set(re.findall(r"cluster/[\w.-]+\.yaml|cluster/Dockerfile", page))
    assert {str(path.relative_to(ROOT)) for path in CLUSTER.iterdir()} == named
