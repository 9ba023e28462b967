"""A small category, and a folder for what is computed of it."""

from __future__ import annotations

import pytest

from study.data import Category, categories_of_folder
from study.trial import StudyFolder
from tests.pipelines.runs import make_category


@pytest.fixture(scope="session")
def category(tmp_path_factory: pytest.TempPathFactory) -> Category:
    root = tmp_path_factory.mktemp("study")
    make_category(root / "cloth", seed=0, train=10, good=8, defects=8)
    return categories_of_folder(root)[0]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> StudyFolder:
    return StudyFolder(tmp_path_factory.mktemp("kept"))
