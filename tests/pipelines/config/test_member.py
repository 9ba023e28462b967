"""Tests of the configuration of a member: adapters that are the identity, and options of all fields."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from pipelines.config.member import Member
from pipelines.config.option import options_of
from tests.pipelines.runs import MEMBER


@pytest.mark.parametrize(
    ("epochs", "init", "adapted"), [(0, "raw", False), (0, "white", True), (1, "raw", True), (1, "white", True)]
)
def test_the_adapter_is_the_identity_only_with_raw_initialization_and_no_training(
    epochs: int, init: str, adapted: bool
) -> None:
    assert replace(MEMBER, epochs=epochs, init=init).adapted == adapted


def test_every_field_has_a_help_text_and_a_repeated_stage() -> None:
    options = options_of(Member)
    assert list(options) == [item.name for item in fields(Member)]
    assert all(option.help and option.redoes for option in options.values())
