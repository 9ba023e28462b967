"""Tests of the command `reconpatch-run paper-tables`: the options that it passes to its implementation."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from pipelines.cli.main import main
from pipelines.commands.paper.tables import PaperOptions

BASE = ("paper-tables", "--data", "d", "--out", "o")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[PaperOptions]:
    """Replace the implementation by a function that records the options that it is called with."""
    given: list[PaperOptions] = []
    monkeypatch.setattr("pipelines.commands.paper.tables.paper_tables", lambda options, console: given.append(options))
    return given


def test_options_that_are_not_given_are_left_to_the_paper(calls: list[PaperOptions]) -> None:
    assert CliRunner().invoke(main, BASE).exit_code == 0
    (options,) = calls
    assert (options.data, options.out, options.tables, options.backbones, options.dry_run) == ("d", "o", (), (), False)
    assert (options.image_size, options.epochs, options.max_steps) == (None, None, None)


def test_given_options_are_passed_on(calls: list[PaperOptions]) -> None:
    words = ("--table", "4", "--table", "6", "--backbone", "a", "--backbone", "b", "--max-steps", "5", "--dry-run")
    assert CliRunner().invoke(main, [*BASE, *words]).exit_code == 0
    (options,) = calls
    assert (options.tables, options.backbones, options.max_steps, options.dry_run) == ((4, 6), ("a", "b"), 5, True)


@pytest.mark.parametrize("words", [("--table", "7"), ("--table", "0"), ("--epochs", "x")])
def test_invalid_values_are_usage_errors(calls: list[PaperOptions], words: tuple[str, str]) -> None:
    assert CliRunner().invoke(main, [*BASE, *words]).exit_code == 2
    assert calls == []
