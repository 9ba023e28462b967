"""Tests of option descriptions, and of the replacement of former names and values in stored configurations."""

from __future__ import annotations

import pytest

from pipelines.config.member import Member
from pipelines.config.option import Section, options_of, with_current_names
from pipelines.config.run_config import RunConfig
from pipelines.errors import UsageError


def test_the_metadata_of_a_field_contains_its_option() -> None:
    option = options_of(RunConfig)["contrastive_neighbors"]
    assert (option.section, option.former, option.redoes) == (Section.TRAINING, ("neighbours",), "fit")


def test_a_field_without_an_option_is_left_out() -> None:
    assert not {"command", "members", "fresh"} & set(options_of(RunConfig))


def test_former_names_are_unique_and_differ_from_current_names() -> None:
    options = {**options_of(RunConfig), **options_of(Member)}
    former = [name for option in options.values() for name in option.former]
    assert not set(former) & set(options)
    assert len(set(former)) == len(former)


@pytest.mark.parametrize(
    ("owner", "stored", "current"),
    [
        (RunConfig, {"neighbours": 5, "reweight": 9}, {"contrastive_neighbors": 5, "score_neighbors": 9}),
        (Member, {"levels": [2, 3], "start": "neighbours"}, {"layers": [2, 3], "init": "neighbors"}),
        (Member, {"init": "white", "dim": 8}, {"init": "white", "dim": 8}),
        (RunConfig, {"command": "ensemble", "fresh": True}, {"command": "ensemble", "fresh": True}),
    ],
)
def test_former_names_and_values_are_replaced(
    owner: type, stored: dict[str, object], current: dict[str, object]
) -> None:
    assert with_current_names(owner, stored) == current


def test_an_unknown_field_is_an_error_that_names_it() -> None:
    with pytest.raises(UsageError, match="the unknown field 'warp'"):
        with_current_names(RunConfig, {"seed": 0, "warp": 1})
