"""Tests that no file contains a secret, and that no account has more rights than it needs."""

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
def test_no_file_contains_a_secret(path: Path) -> None:
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
def test_keys_of_the_object_store_come_from_a_secret(rayjob: dict[str, Any]) -> None:
    for container in containers(*pods(rayjob)[:-1]):
        assert container["envFrom"] == [{"secretRef": {"name": "reconpatch-s3"}}]
    assert "kubectl -n reconpatch create secret generic reconpatch-s3" in (ROOT / "docs" / "cluster.md").read_text()


@RAYJOBS
def test_ray_requires_a_token(rayjob: dict[str, Any]) -> None:
    assert rayjob["spec"]["rayClusterSpec"]["authOptions"] == {"mode": "token"}


def test_no_container_runs_as_root() -> None:
    night = NIGHT["CronJob"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    for pod in [*pods(ENSEMBLE), *pods(NIGHTLY), night]:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        for container in containers(pod):
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    users = re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE)
    assert users[-1].split(":")[0] == str(pods(ENSEMBLE)[0]["securityContext"]["runAsUser"])


def test_the_job_of_the_nightly_run_may_only_manage_rayjobs() -> None:
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
    documents = [*NIGHT.values(), NIGHTLY, ENSEMBLE]
    assert {document["metadata"]["namespace"] for document in documents} == {"reconpatch"}
