"""The page of a category: scores of its images and of a comparison run, and escaped names."""

from __future__ import annotations

import shutil
from html import escape
from pathlib import Path

import pytest

from tests.pipelines.report.pages import data_of, html_of, pages
from tests.pipelines.runs import SCRIPT, Finished, call, rows_of


def test_a_page_holds_the_scores_of_all_its_images(finished: Finished) -> None:
    data = data_of(pages(finished.out)["categories/cloth.html"])
    rows = rows_of(finished.out / "scores/fused/cloth.parquet")
    tested = {row["image_path"]: row["score"] for row in rows if row["split"] == "test"}
    assert {path: score for path, score, _ in data["images"]} == pytest.approx(tested, rel=1e-4)
    assert len(data["groups"]["good"]) + len(data["groups"]["defective"]) == len(tested)


def test_scores_of_a_comparison_run_can_be_shown(finished: Finished, copied: Path) -> None:
    assert call("report", "--run", str(copied), "--beside", str(finished.out)).code == 0
    data = data_of(pages(copied)["categories/cloth.html"])
    assert data["beside"] == data["groups"]


def test_names_are_shown_and_never_executed(finished: Finished) -> None:
    for text in pages(finished.out).values():
        assert "<script>alert" not in text
    page = pages(finished.out)["categories/cloth.html"]
    assert f"cloth/test/good/{escape(SCRIPT, quote=False)}" in html_of(page)
    assert SCRIPT in {Path(path).name for path, _, _ in data_of(page)["images"]}


def test_the_page_shows_an_error_message_for_a_missing_image(finished: Finished, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished.out, out)
    shutil.rmtree(out / "report")
    (tmp_path / "empty").mkdir()
    assert call("report", "--run", str(out), "--data", str(tmp_path / "empty")).code == 0
    assert 'class="gone"' in pages(out)["categories/cloth.html"]
