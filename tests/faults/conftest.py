"""Fixtures of the fault tests: a run without faults, and a command for a run with faults on the same data."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.faults.commands import EnsembleCommand, finish, make_data


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> EnsembleCommand:
    """A run that completed without a fault; the results of all other runs are compared with it."""
    root = tmp_path_factory.mktemp("undisturbed")
    command = EnsembleCommand(str(make_data(root / "data")), str(root / "run"))
    finish(command)
    return command


@pytest.fixture
def disturbed(undisturbed: EnsembleCommand, tmp_path: Path) -> EnsembleCommand:
    """A command for a copy of the same data, which has not been called."""
    shutil.copytree(undisturbed.data, tmp_path / "data", copy_function=shutil.copy2)
    return EnsembleCommand(str(tmp_path / "data"), str(tmp_path / "run"))
