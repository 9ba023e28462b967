"""Tests of the options of configuration fields: defaults, help texts and choices."""

from __future__ import annotations

from typing import Any

import click
import pytest

from pipelines.cli.generate import ConfigOption, Decorator
from pipelines.cli.main import main
from pipelines.cli.options import MEMBER_FIELDS, run_field
from pipelines.config.option import options_of
from pipelines.config.run_config import RunConfig
from pipelines.data.layouts.detect import LAYOUTS


def made(decorator: Decorator) -> ConfigOption:
    """Return the click option that a decorator adds."""
    (option,) = click.command()(decorator(lambda **_: None)).params
    assert isinstance(option, ConfigOption)
    return option


def default_of(option: ConfigOption) -> Any:
    return option.get_default(click.Context(click.Command("")))


@pytest.mark.parametrize(
    ("name", "default", "shown"),
    [
        ("seed", 0, True),
        ("scratch_gb", 50.0, True),
        ("fusion", "patch", True),
        ("sigma", "neighbor", True),
        ("maps", False, True),
        ("full_frame", None, "full-frame; center-crop with --recipe paper"),
    ],
)
def test_an_option_has_the_default_of_its_field(name: str, default: object, shown: object) -> None:
    option = made(run_field(name))
    assert (default_of(option), option.show_default) == (default, shown)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("dim", "by preset"),
        ("init", "by preset"),
        ("max_steps", "3000; 0 with --recipe paper"),
        ("holdout", "0.2; 0 with --recipe paper"),
    ],
)
def test_options_set_by_a_preset_or_a_recipe_have_no_default_value(name: str, shown: str) -> None:
    option = made(run_field(name))
    assert option.show_default == shown
    assert not isinstance(default_of(option), (int, float, str))


def test_a_command_can_change_default_and_help() -> None:
    steps = made(run_field("max_steps", default=300, help="Steps."))
    assert (default_of(steps), steps.show_default, steps.help) == (300, True, "Steps.")
    rate = made(run_field("false_alarms", shown_default="the run's"))
    assert (rate.show_default, rate.help) == ("the run's", options_of(RunConfig)["false_alarms"].help)


def test_every_layout_can_be_chosen() -> None:
    layout = made(run_field("layout"))
    assert isinstance(layout.type, click.Choice)
    assert layout.type.choices == ("auto", *LAYOUTS)


@pytest.mark.parametrize("command", ["ensemble", "single", "nightly"])
def test_training_commands_have_the_options_of_all_fields(command: str) -> None:
    fields = {*MEMBER_FIELDS, *options_of(RunConfig)} - ({"out"} if command == "nightly" else set())
    assert fields <= {parameter.name for parameter in main.commands[command].params}
