"""A run that nothing happens to, which all others are compared with."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.faults.places import Place, finish, make_data


@pytest.fixture(scope="session")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Place:
    root = tmp_path_factory.mktemp("calm")
    place = Place(str(make_data(root / "data")), str(root / "run"))
    finish(place)
    return place


@pytest.fixture
def struck(calm: Place, tmp_path: Path) -> Place:
    """The same data elsewhere, and nothing done yet."""
    shutil.copytree(calm.data, tmp_path / "data", copy_function=shutil.copy2)
    return Place(str(tmp_path / "data"), str(tmp_path / "run"))
