"""Tests of the error classes and of error lines."""

from __future__ import annotations

import subprocess
import sys

import pytest
from ray.exceptions import RayTaskError, WorkerCrashedError

from pipelines.errors import (
    BackboneError,
    ExportError,
    ImageError,
    ModelError,
    ReconPatchError,
    StoreUnavailableError,
    UsageError,
    cause_of,
    error_line,
    one_line,
)


@pytest.mark.parametrize("kind", [UsageError, ImageError, BackboneError, ModelError, ExportError])
def test_errors_of_the_project_share_a_base_and_are_value_errors(kind: type[Exception]) -> None:
    assert issubclass(kind, ReconPatchError)
    assert issubclass(kind, ValueError)


def test_an_unavailable_store_is_neither_an_os_error_nor_a_value_error() -> None:
    assert issubclass(StoreUnavailableError, ReconPatchError)
    assert not issubclass(StoreUnavailableError, (OSError, ValueError))


def in_task(cause: Exception) -> Exception:
    return RayTaskError("score", "Traceback ...", cause)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (UsageError("--out x: is a file; give a folder."), "--out x: is a file; give a folder."),
        (StoreUnavailableError("no answer"), "no answer"),
        (ValueError("no bank"), "no bank"),
        (OSError("disk full"), "disk full"),
        (KeyError("hurt"), "KeyError: 'hurt'"),
        (RuntimeError("first\n  second\n"), "RuntimeError: first second"),
        (OSError(), "OSError"),
        (RuntimeError(), "RuntimeError"),
        (MemoryError(), "Out of memory. Scale the image down or cut it into tiles."),
        (in_task(KeyError("hurt")), "KeyError: 'hurt'"),
        (in_task(ModelError("model.json is damaged")), "model.json is damaged"),
    ],
)
def test_an_error_is_one_line(error: Exception, line: str) -> None:
    assert error_line(error) == line


def test_the_line_for_a_dead_process_starts_with_rays_error_class() -> None:
    assert error_line(WorkerCrashedError()).startswith("WorkerCrashedError: ")


def test_a_line_is_cut_to_its_limit() -> None:
    assert error_line(ValueError("x" * 900)) == "x" * 500
    assert error_line(KeyError("x" * 900), limit=20) == "KeyError: 'xxxxxxxxx"


def test_the_cause_of_a_task_error_is_the_exception_that_the_task_raised() -> None:
    error = OSError("disk full")
    assert cause_of(in_task(error)) is error
    assert cause_of(error) is error


def test_spaces_within_a_line_are_kept() -> None:
    assert one_line(" a  b\tc \r\n\n d ") == "a  b\tc d"


def test_importing_the_errors_loads_no_large_library() -> None:
    program = (
        "import sys, pipelines.errors; print([name for name in ('torch', 'ray', 'pyarrow') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
