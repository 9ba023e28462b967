"""Tests that the default recipe of the study equals that of the command line."""

from __future__ import annotations

from pipelines.config.presets import DEMO_BACKBONES, resolve_members
from pipelines.config.run_config import RunConfig
from study.features import FeatureSpec
from study.plan import DEFAULT, FINALS


def test_the_default_recipe_equals_that_of_the_command_line() -> None:
    members = resolve_members("ensemble", DEMO_BACKBONES, 320, {})
    config = RunConfig(command="ensemble", data="data", out="out", members=members, image_size=320)
    for member, spec in zip(members, DEFAULT.members, strict=True):
        assert spec == FeatureSpec(member.backbone, 320, "whole", member.layers, member.patch_size, member.aggregation)
        assert config.full_frame
        assert config.adapter_config(member) == DEFAULT.adapter.config
        assert member.coreset == DEFAULT.coreset
    assert (config.score_neighbors, config.fusion) == (DEFAULT.score_neighbors, DEFAULT.fusion)


def test_the_recipe_with_the_identity_adapter_has_the_same_bank_and_features() -> None:
    identity = FINALS["default ensemble, identity"]
    assert (identity.members, identity.coreset) == (DEFAULT.members, DEFAULT.coreset)
    assert identity.adapter.config is None
