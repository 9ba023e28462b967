"""Fixtures: a small category, and a folder for the features, scores and results of its trials."""

from __future__ import annotations

import pytest

from study.data import Category, categories_of_folder
from study.trial import StudyFolder
from tests.pipelines.runs import make_category


@pytest.fixture(scope="session")
def category(tmp_path_factory: pytest.TempPathFactory) -> Category:
    """A category of 10 training images and 16 test images, half of them defective."""
    root = tmp_path_factory.mktemp("study")
    make_category(root / "cloth", seed=0, train=10, good=8, defects=8)
    return categories_of_folder(root)[0]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> StudyFolder:
    """A folder that all tests share, so that features are extracted only once."""
    return StudyFolder(tmp_path_factory.mktemp("kept"))
