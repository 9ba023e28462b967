"""Tests of the page that `reconpatch-run` prints when it is called without a command."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from pipelines.cli.main import main
from pipelines.cli.start_page import START_PAGE

EXAMPLES = re.findall(r"^ +reconpatch-run (.*)$", START_PAGE.replace("\\\n", ""), re.MULTILINE)


def test_the_page_is_printed_instead_of_the_list_of_commands() -> None:
    result = CliRunner().invoke(main, [])
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"{START_PAGE}\n", "")
    assert "paper-tables" not in result.stdout
    assert "reconpatch-run -h" in result.stdout


def test_the_help_still_lists_all_commands() -> None:
    result = CliRunner().invoke(main, ["-h"])
    assert result.exit_code == 0
    listed = re.findall(r"^  ([a-z-]+)  ", result.stdout.split("Commands:")[1], re.MULTILINE)
    assert sorted(listed) == sorted(main.commands)


def test_the_page_is_short_and_fits_80_columns() -> None:
    lines = START_PAGE.splitlines()
    assert len(lines) <= 25
    assert max(map(len, lines)) <= 80


def test_the_page_has_three_examples() -> None:
    assert [words.split()[0] for words in EXAMPLES] == ["demo", "inspect", "ensemble"]


@pytest.mark.parametrize("words", EXAMPLES)
def test_the_examples_are_valid_commands(words: str) -> None:
    name, *options = shlex.split(words)
    assert main.commands[name].make_context(name, options, click.Context(main, **main.context_settings))


@pytest.mark.parametrize("words", [[], ["-h"], ["--version"], ["ensemble", "-h"]], ids=" ".join)
def test_help_loads_no_large_library(words: list[str]) -> None:
    program = (
        "import sys; from pipelines.cli.main import main; main(sys.argv[1:], standalone_mode=False); "
        "print([name for name in ('ray', 'pandas', 'scipy', 'timm', 'torchvision') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
