"""Tests of the run configuration: its parts, invalid values, and reading it from run.json."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.config.option import options_of
from pipelines.config.presets import DEMO_BACKBONES, resolve_members
from pipelines.config.recipe import Recipe
from pipelines.config.run_config import Execution, Paths, RunConfig, stored_config
from pipelines.errors import UsageError

MEMBERS = resolve_members("ensemble", DEMO_BACKBONES[:2], 224, {"init": "neighbors"})
CONFIG = RunConfig(command="ensemble", data="data", out="out", members=MEMBERS, image_size=224, categories=("nut",))
FIRST_ROUND = Path(__file__).parents[2] / "data" / "first_round"


def stored() -> dict[str, Any]:
    """Return the configuration as it is stored in run.json."""
    config: dict[str, Any] = json.loads(json.dumps(CONFIG.as_dict()))
    return config


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"members": ()}, "--backbone: no backbone is given; give at least one"),
        ({"workers": 0}, "--workers"),
        ({"scratch_gb": 0.0}, "--scratch-gb"),
        ({"gpus_per_actor": -1.0}, "--gpus-per-actor"),
        ({"image_size": 8}, "--image-size"),
    ],
)
def test_invalid_values_are_an_error(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        replace(CONFIG, **changes)


def test_a_configuration_has_the_fields_of_its_three_parts() -> None:
    parts = [{item.name for item in fields(part)} for part in (Recipe, Execution, Paths)]
    assert {item.name for item in fields(RunConfig)} == {"command"}.union(*parts)
    assert sum(map(len, parts)) == len(set().union(*parts))


def test_all_fields_have_options_except_those_that_commands_set() -> None:
    assert {item.name for item in fields(RunConfig)} - set(options_of(RunConfig)) == {"command", "members", "fresh"}


@pytest.mark.parametrize(("gpus", "device"), [(0.0, "cpu"), (0.5, "cuda"), (1.0, "cuda")])
def test_the_device_depends_on_the_gpus_per_job(gpus: float, device: str) -> None:
    assert replace(CONFIG, gpus_per_actor=gpus).device == device


def test_a_stored_configuration_is_read_unchanged() -> None:
    assert stored_config(stored()) == CONFIG


def test_given_fields_replace_the_stored_ones() -> None:
    assert stored_config(stored(), data="elsewhere", workers=3) == replace(CONFIG, data="elsewhere", workers=3)


@pytest.mark.parametrize(
    "run_info", sorted(FIRST_ROUND.glob("*/run.json")) + sorted(FIRST_ROUND.glob("scores/*/run.json"))
)
def test_a_run_of_the_first_version_is_read_with_its_former_names(run_info: Path) -> None:
    written = json.loads(run_info.read_text())["config"]
    config = stored_config(written)
    assert (config.contrastive_neighbors, config.score_neighbors) == (written["neighbours"], written["reweight"])
    for member, former in zip(config.members, written["members"], strict=True):
        assert member.layers == tuple(former["levels"])
        assert member.init == {"neighbours": "neighbors"}.get(former["start"], former["start"])


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        ({"warp": 1}, "the unknown field 'warp'"),
        ({"members": [{"backbone": "a", "shape": 3}]}, "the unknown field 'shape'"),
        ({"members": [{"backbone": "a"}]}, "no complete run configuration"),
        ({"members": 5}, "no complete run configuration"),
        ({"members": ["a"]}, "no complete run configuration"),
        ({"categories": None}, "no complete run configuration"),
        ({"image_size": "large"}, "no complete run configuration"),
    ],
)
def test_an_incomplete_or_invalid_stored_configuration_is_an_error(damage: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        stored_config({**stored(), **damage})


def test_the_error_names_a_missing_field() -> None:
    with pytest.raises(UsageError, match="data"):
        stored_config({name: value for name, value in stored().items() if name != "data"})
