"""Tests of `reconpatch-run models`: the function and the arguments that each command calls."""

from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner

from pipelines.cli.models import models_group


@pytest.mark.parametrize(
    ("words", "function", "options"),
    [
        (["list"], "list_models", {"categories": ()}),
        (["list", "--category", "a", "--category", "b"], "list_models", {"categories": ("a", "b")}),
        (["show", "--category", "a"], "show_model", {"category": "a", "version": None}),
        (["promote", "--category", "a", "--version", "v"], "promote_model", {"category": "a", "version": "v"}),
        (["rollback", "--category", "a"], "rollback_model", {"category": "a"}),
        (["prune", "--keep", "2"], "prune_models", {"categories": (), "keep": 2}),
    ],
)
def test_a_command_calls_its_function(
    monkeypatch: pytest.MonkeyPatch, words: list[str], function: str, options: dict[str, Any]
) -> None:
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr(f"pipelines.commands.models.{function}", lambda console, **given: calls.append(given) or 0)
    result = CliRunner().invoke(models_group, [*words, "--registry", "r"])
    assert (result.exit_code, result.output) == (0, "")
    assert calls == [{"registry": "r", **options}]


@pytest.mark.parametrize(
    "words", [["list"], ["promote", "--registry", "r", "--category", "a"], ["prune", "--keep", "0"]]
)
def test_missing_and_invalid_options_are_usage_errors(words: list[str]) -> None:
    assert CliRunner().invoke(models_group, words).exit_code == 2
