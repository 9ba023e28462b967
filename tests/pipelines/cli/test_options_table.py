"""docs/options.md is what the code says."""

from __future__ import annotations

import re
from pathlib import Path

import click

from pipelines.cli.main import main
from pipelines.cli.options_table import options_page

PAGE = Path(__file__).parents[3] / "docs" / "options.md"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == options_page(), "python -m pipelines.cli.options_table > docs/options.md"


def options(group: click.Group) -> set[str]:
    """Every option of a group's commands as it is typed."""
    names: set[str] = set()
    for command in group.commands.values():
        if isinstance(command, click.Group):
            names |= options(command)
        else:
            names |= {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    return {name for name in names if name.startswith("--")}


def test_the_page_has_every_option() -> None:
    assert options(main) <= set(re.findall(r"`(--[a-z-]+)`", options_page()))


def test_the_page_says_what_a_change_redoes_and_former_names() -> None:
    (row,) = [line for line in options_page().splitlines() if line.startswith("| `--score-neighbors`")]
    assert row.endswith("Formerly `--reweight`. | score |")
    assert "| `9` |" in row
