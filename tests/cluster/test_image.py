"""Tests of the container image and of the machines of the Ray cluster launcher."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path

from tests.cluster.manifests import CLUSTER, DOCKERFILE, LAUNCHER, ROOT, commands_in, parsed


def test_the_image_is_built_from_existing_files_of_the_build_context() -> None:
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    copied = [word for line in re.findall(r"^COPY (.+)$", DOCKERFILE, re.MULTILINE) for word in line.split()[1:-1]]
    assert {"pyproject.toml", "README.md", "LICENSE", "reconpatch", "pipelines"} == set(copied)
    for source in copied:
        assert (ROOT / source).exists()
        matching = [rule for rule in rules if fnmatch(source, rule.removeprefix("!"))]
        assert matching[-1].startswith("!"), f".dockerignore excludes {source}"


def test_the_image_has_cpu_torch_by_default_and_uses_no_hub() -> None:
    assert re.search(r"^FROM rayproject/ray:\$\{RAY_VERSION\}-py311$", DOCKERFILE, re.MULTILINE)
    assert re.search(r"^ARG TORCH_INDEX=https://\S+/cpu$", DOCKERFILE, re.MULTILINE)
    assert "HF_HUB_OFFLINE=1" in DOCKERFILE
    assert "TZ=Etc/UTC" in DOCKERFILE


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


def test_the_launcher_puts_weights_where_its_command_expects_them() -> None:
    (line,) = commands_in((CLUSTER / "ray-cluster.yaml").read_text())
    assert f"'{parsed(line)[1]['weights']}')" in LAUNCHER["setup_commands"][-1]
