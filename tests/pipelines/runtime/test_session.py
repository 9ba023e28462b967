"""Tests of the Ray session of a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.config.run_config import RunConfig
from pipelines.errors import BackboneError, UsageError
from pipelines.runtime.session import address_of, ray_session, session_with_networks
from tests.pipelines.runs import MEMBER, SIZE

CONFIG = RunConfig(command="ensemble", data="data", out="out", members=(MEMBER,), image_size=SIZE)


def test_a_missing_weights_folder_is_reported_before_ray_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.runtime.session.ray_session", lambda config: pytest.fail("Ray was started"))
    config = replace(CONFIG, weights=str(tmp_path / "nowhere"))
    with pytest.raises(BackboneError, match="nowhere is not a folder"), session_with_networks(config):
        pass


def test_the_address_comes_from_the_option_or_the_environment_or_is_local(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert address_of(CONFIG) == "local"
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    assert address_of(CONFIG) == "head:6379"
    assert address_of(replace(CONFIG, address="other:6379")) == "other:6379"


def test_an_unreachable_cluster_is_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(**options: object) -> None:
        raise ConnectionError("no\n  answer")

    monkeypatch.setattr("pipelines.runtime.session.ray.is_initialized", lambda: False)
    monkeypatch.setattr("pipelines.runtime.session.ray.init", unreachable)
    with (
        pytest.raises(UsageError, match="Cannot use Ray at 'head:6379': no answer"),
        ray_session(replace(CONFIG, address="head:6379")),
    ):
        pass
