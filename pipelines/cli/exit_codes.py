"""Exit codes and error lines of the commands."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from typing import NoReturn

import click

from pipelines.errors import ExportError, ReconPatchError, StoreUnavailableError, error_line
from pipelines.tracking.console import safe_line

_LIMIT = 2000  # maximum characters of an error line; some lines list categories or files


def do(work: Callable[[], int], *, resumes: bool = False) -> NoReturn:
    """Run the work of a command and exit with its exit code.

    An error that the user can act on is printed as one line on stderr. The exit code is then 1 for a failed ONNX
    export, an error of the operating system (such as a full disk) or an object store that is unavailable, and 2 for an
    error of usage or input. An interrupted command exits with 130 (SIGINT) or 143 (SIGTERM).

    Args:
        work: Function that runs the command and returns its exit code.
        resumes: Whether running an interrupted command again resumes it; the message then says so.
    """
    received: list[int] = []

    def interrupt(signum: int, _frame: object) -> None:
        # Ray turns any other exception from a signal handler into exit code 1.
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
        click.echo(f"interrupted{'; run the same command again to resume' if resumes else ''}", err=True)
        code = 143 if received else 130
    sys.exit(code)


def exit_with_error(error: Exception, code: int) -> NoReturn:
    """Print an error as one line on stderr and exit.

    Args:
        error: Error to print; credentials and control characters are removed from its message.
        code: Exit code of the process.
    """
    click.echo(f"error: {safe_line(error_line(error, limit=_LIMIT))}", err=True)
    sys.exit(code)
