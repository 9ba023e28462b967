"""From what a command does to its exit code and its error line."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from typing import NoReturn

import click

from pipelines.errors import ExportError, ReconPatchError, StoreUnavailableError, error_line
from pipelines.tracking.console import safe_line

_LIMIT = 2000  # characters of an error's line: some list categories or files


def do(work: Callable[[], int]) -> NoReturn:
    """Do a command's work and exit with its code.

    Errors with a message for the user are one line on stderr: exit code 1 for a graph that cannot be exported, a full
    disk or a store that cannot be reached, 2 for bad usage or input. An interrupted command exits with 130 (SIGINT) or
    143 (SIGTERM).

    Args:
        work: returns the exit code.
    """
    received: list[int] = []

    def interrupt(signum: int, _frame: object) -> None:
        # Ray turns whatever a handler raises into exit code 1, but for KeyboardInterrupt.
        received.append(signum)
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    try:
        code = work()
    except (ExportError, StoreUnavailableError, OSError) as error:
        exit_with_error(error, 1)
    except ReconPatchError as error:
        exit_with_error(error, 2)
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        code = 143 if received else 130
    sys.exit(code)


def exit_with_error(error: Exception, code: int) -> NoReturn:
    """Write an error as one line to stderr and exit."""
    click.echo(f"error: {safe_line(error_line(error, limit=_LIMIT))}", err=True)
    sys.exit(code)
