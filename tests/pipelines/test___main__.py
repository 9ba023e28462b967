"""Tests of the entry point: an interrupt during the imports."""

from __future__ import annotations

import sys

import pytest

from pipelines.__main__ import main as begin


def test_an_interrupt_during_the_imports_exits_with_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Interrupted:
        @staticmethod
        def find_spec(name: str, *_: object) -> None:
            if name == "pipelines.cli.main":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "pipelines.cli.main")
    monkeypatch.setattr(sys, "meta_path", [Interrupted, *sys.meta_path])
    with pytest.raises(SystemExit) as ended:
        begin()
    assert ended.value.code == 130
    assert capsys.readouterr().err == "interrupted\n"
