"""Folders that options name: they must exist."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.data.folders import existing_folder
from pipelines.errors import UsageError


@pytest.mark.parametrize("is_there", [False, True])
def test_a_folder_that_is_missing_or_empty_is_named_with_its_option(tmp_path: Path, is_there: bool) -> None:
    folder = tmp_path / "run"
    if is_there:
        folder.mkdir()
    with pytest.raises(UsageError) as raised:
        existing_folder("--model", str(folder))
    assert str(raised.value) == f"--model {folder}: the folder does not exist or is empty."


def test_a_folder_with_a_file_is_returned(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    assert existing_folder("--run", str(tmp_path)).exists("run.json")
