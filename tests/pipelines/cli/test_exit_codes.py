"""Every error for the user is one line on stderr, with the exit code of its kind."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from pipelines.cli.exit_codes import do
from pipelines.errors import (
    BackboneError,
    ExportError,
    ImageError,
    ModelError,
    StoreUnavailableError,
    UsageError,
)


@pytest.fixture(autouse=True)
def sigterm() -> Iterator[None]:
    """Put SIGTERM's handler back."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def code_of(error: BaseException) -> object:
    def work() -> int:
        raise error

    with pytest.raises(SystemExit) as ended:
        do(work)
    return ended.value.code


@pytest.mark.parametrize("code", [0, 1, 3])
def test_the_exit_code_is_what_the_work_returns(code: int) -> None:
    with pytest.raises(SystemExit) as ended:
        do(lambda: code)
    assert ended.value.code == code


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (UsageError, 2),
        (BackboneError, 2),
        (ModelError, 2),
        (ImageError, 2),
        (ExportError, 1),
        (StoreUnavailableError, 1),
        (OSError, 1),
    ],
)
def test_an_error_is_one_line(kind: type[Exception], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of(kind("disk full:\n  give more\x1b[2J")) == code
    assert capsys.readouterr().err == "error: disk full: give more\\u001b[2J\n"


def test_credentials_are_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of(UsageError("--data s3://KEY:SECRET@bucket/x: there is no such folder.")) == 2
    assert "SECRET" not in capsys.readouterr().err


def test_an_unexpected_error_is_not_hidden() -> None:
    def work() -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        do(work)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_has_the_shells_exit_code(
    number: signal.Signals, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def work() -> int:
        os.kill(os.getpid(), number)
        signal.pause()
        return 0

    with pytest.raises(SystemExit) as ended:
        do(work)
    assert ended.value.code == code
    assert capsys.readouterr().err == "interrupted\n"
