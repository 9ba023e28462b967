"""The source of a report."""

from __future__ import annotations

from pathlib import Path

from tests.pipelines.runs import call


def test_a_folder_without_scores_is_an_error(tmp_path: Path) -> None:
    done = call("report", "--run", str(tmp_path))
    assert done.code == 2
    assert "holds no run, no nightly run and no scores" in done.stderr
