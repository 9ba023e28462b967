"""Tests of exit codes, and of errors printed as one line on stderr."""

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
    """Restore the handler of SIGTERM."""
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
def test_the_exit_code_is_the_result_of_the_work(code: int) -> None:
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
def test_an_error_is_printed_as_one_line(kind: type[Exception], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of(kind("disk full:\n  give more\x1b[2J")) == code
    assert capsys.readouterr().err == "error: disk full: give more\\u001b[2J\n"


def test_credentials_are_redacted(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of(UsageError("--data s3://KEY:SECRET@bucket/x: the folder does not exist.")) == 2
    assert "SECRET" not in capsys.readouterr().err


def test_an_unexpected_error_is_raised() -> None:
    def work() -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        do(work)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_exits_with_the_code_that_shells_use(
    number: signal.Signals, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def work() -> int:
        os.kill(os.getpid(), number)
        signal.pause()
        return 0

    for resumes, message in ((False, "interrupted\n"), (True, "interrupted; run the same command again to resume\n")):
        with pytest.raises(SystemExit) as ended:
            do(work, resumes=resumes)
        assert ended.value.code == code
        assert capsys.readouterr().err == message
