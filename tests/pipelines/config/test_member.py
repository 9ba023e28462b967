"""A member: which adapters are anything but the identity, and that each of its fields is described."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from pipelines.config.member import Member
from pipelines.config.option import options_of
from tests.pipelines.runs import MEMBER


@pytest.mark.parametrize(
    ("epochs", "init", "adapted"), [(0, "raw", False), (0, "white", True), (1, "raw", True), (1, "white", True)]
)
def test_only_the_raw_initialization_without_training_is_the_identity(epochs: int, init: str, adapted: bool) -> None:
    assert replace(MEMBER, epochs=epochs, init=init).adapted == adapted


def test_every_field_is_described_with_what_it_redoes() -> None:
    options = options_of(Member)
    assert list(options) == [item.name for item in fields(Member)]
    assert all(option.help and option.redoes for option in options.values())
