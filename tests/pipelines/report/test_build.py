"""The report: its files, its overview, and that unchanged pages are kept."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import unquote

from tests.pipelines.report.pages import pages
from tests.pipelines.runs import Finished, call, rows_of


def test_a_run_writes_an_overview_and_one_page_per_category(finished: Finished) -> None:
    assert set(pages(finished.out)) == {"index.html", "categories/cloth.html", "categories/a%3Db x%2520y.html"}
    assert "a=b x%20y" in pages(finished.out)["index.html"]
    assert f"report   {finished.out}/report/index.html" in finished.stdout


def test_pages_load_nothing_from_outside_the_report(finished: Finished) -> None:
    report = finished.out / "report"
    linked = 0
    for name, text in pages(finished.out).items():
        links = re.findall(r'(?:src|href)="([^"]*)"', text)
        assert not [link for link in links if re.match(r"\w+:|//", link)]
        assert not re.search(r"@import|url\(", text)
        for link in links:
            assert ((report / name).parent / unquote(link)).resolve().is_file(), (name, link)
        linked += len(links)
    assert linked > 40


def test_the_numbers_of_the_overview_are_those_of_the_parquet_files(finished: Finished) -> None:
    stored = json.loads((finished.out / "report/pages.json").read_text())
    metrics = rows_of(finished.out / "metrics.parquet")
    assert stored
    for category, summary in ((name, page["summary"]) for name, page in stored.items()):
        (ensemble,) = [row for row in metrics if row["category"] == category and row["model"] == "ensemble"]
        rows = rows_of(finished.out / "scores" / "fused")
        rows = [row for row in rows if row["category"] == category and row["split"] == "test"]
        assert summary["image_auroc"] == ensemble["image_auroc"]
        assert summary["images"] == len(rows)
        assert summary["alarms"] == sum(bool(row["is_anomaly"]) for row in rows)
        assert summary["missed"] == sum(row["label"] == 1 and not row["is_anomaly"] for row in rows)
        assert sum(summary["spark"]["good"]) == summary["good"] + summary["held_out"]


def test_an_unchanged_page_is_kept_and_a_missing_page_is_written(copied: Path) -> None:
    page, other = (copied / "report" / "categories" / name for name in ("cloth.html", "a%3Db x%2520y.html"))
    before = page.stat().st_mtime_ns, other.stat().st_mtime_ns
    assert call("report", "--run", str(copied)).code == 0
    assert (page.stat().st_mtime_ns, other.stat().st_mtime_ns) == before
    other.unlink()
    assert call("report", "--run", str(copied)).code == 0
    assert page.stat().st_mtime_ns == before[0]
    assert other.exists()
