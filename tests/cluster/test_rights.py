"""No secret stands in a file, and nobody may do more than is needed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.manifests import (
    CLUSTER,
    DOCKERFILE,
    ENSEMBLE,
    NIGHT,
    NIGHTLY,
    RAYJOBS,
    ROOT,
    containers,
    nodes,
    pods,
)


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
