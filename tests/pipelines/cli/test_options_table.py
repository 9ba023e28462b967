"""Tests of docs/options.md, which is generated from the code."""

from __future__ import annotations

import re
from pathlib import Path

import click

from pipelines.cli.main import main
from pipelines.cli.options_table import options_page

PAGE = Path(__file__).parents[3] / "docs" / "options.md"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == options_page(), "Run: python -m pipelines.cli.options_table > docs/options.md"


def options(group: click.Group) -> set[str]:
    """Return the names of all options of a group's commands as they are typed."""
    names: set[str] = set()
    for command in group.commands.values():
        if isinstance(command, click.Group):
            names |= options(command)
        else:
            names |= {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    return {name for name in names if name.startswith("--")}


def test_the_page_has_every_option() -> None:
    assert options(main) <= set(re.findall(r"`(--[a-z-]+)`", options_page()))


def test_the_page_names_repeated_stages_and_former_names() -> None:
    (row,) = [line for line in options_page().splitlines() if line.startswith("| `--score-neighbors`")]
    assert row.endswith("Former name: `--reweight`. | score |")
    assert "| `9` |" in row
