"""The study's default is the product's."""

from __future__ import annotations

from pipelines.config import DEMO_BACKBONES, RunConfig, resolve_members
from study.plan import DEFAULT, FINALS


def test_the_default_that_is_judged_is_what_the_command_line_does() -> None:
    members = resolve_members("ensemble", DEMO_BACKBONES, 320, {})
    config = RunConfig("ensemble", "data", "out", members, 320)
    for member, view in zip(members, DEFAULT.views, strict=True):
        theirs = (member.backbone, 320, "whole", member.levels, member.patch_size, member.aggregation)
        assert theirs == (view.backbone, view.size, view.frame, view.levels, view.patch_size, view.aggregation)
        assert config.full_frame
        assert config.adapter_config(member) == DEFAULT.adapter.config
        assert member.coreset == DEFAULT.coreset
    assert (config.reweight, config.fusion) == (DEFAULT.reweight, DEFAULT.fusion)


def test_the_identity_has_the_same_bank_and_features() -> None:
    identity = FINALS["default ensemble, identity"]
    assert (identity.views, identity.coreset) == (DEFAULT.views, DEFAULT.coreset)
    assert identity.adapter.config is None
