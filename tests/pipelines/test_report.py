"""The report as files: whole, self-contained, escaped, about the right images, and not made twice."""

from __future__ import annotations

import json
import re
import shutil
from html import escape
from pathlib import Path
from urllib.parse import unquote

import pytest

from pipelines.report.gallery import galleries
from tests.pipelines.runs import SCRIPT, Finished, call, rows_of


def row(path: str, score: float, label: int | None, called: bool | None) -> dict:
    return {"image_path": path, "score": score, "label": label, "is_anomaly": called}


def test_the_worst_misses_and_false_alarms_come_first() -> None:
    rows = [
        *(row(f"missed{score}", score, 1, False) for score in (3.0, 1.0, 2.0)),
        *(row(f"false{score}", score, 0, True) for score in (6.0, 8.0)),
        *(row(f"hit{score}", score, 1, True) for score in (9.0, 7.0)),
        *(row(f"quiet{score}", score, 0, False) for score in (0.5, 4.0)),
    ]
    found = {each.title: [shown["image_path"] for shown in each.rows] for each in galleries(rows, [])}
    assert found == {
        "Missed defects": ["missed1.0", "missed2.0", "missed3.0"],
        "False alarms": ["false8.0", "false6.0"],
        "Hits": ["hit9.0", "hit7.0"],
        "Nearly called": ["quiet4.0", "quiet0.5"],
    }


def test_without_labels_alarms_are_shown_and_without_a_threshold_the_highest() -> None:
    judged = [row("a", 2.0, None, True), row("b", 3.0, None, True), row("c", 1.0, None, False)]
    assert [(each.title, len(each.rows)) for each in galleries(judged, [])] == [("Alarms", 2), ("Nearly called", 1)]
    (highest,) = galleries([row("a", 1.0, 1, None), row("b", 2.0, 0, None)], [])
    assert (highest.title, [each["image_path"] for each in highest.rows]) == ("Highest scores", ["b", "a"])


def test_only_some_are_shown_of_many_and_how_many_there_are_is_said() -> None:
    (alarms,) = galleries([row(f"{n:03d}", float(n), None, True) for n in range(300)], [])
    assert (len(alarms.rows), alarms.total) == (12, 300)


def test_suspicious_good_images_are_those_of_the_audit() -> None:
    audit = [{"image_path": "odd", "is_suspicious": True}, {"image_path": "fine", "is_suspicious": False}]
    (odd,) = galleries([], audit)
    assert (odd.title, [each["image_path"] for each in odd.rows]) == ("Suspicious good images", ["odd"])


def pages(out: Path) -> dict[str, str]:
    report = out / "report"
    return {str(path.relative_to(report)): path.read_text() for path in report.rglob("*.html")}


def data_of(page: str) -> dict:
    """What a category's page draws."""
    found = re.search(r'id="data">(.*?)</script>', page, re.S)
    assert found is not None
    return dict(json.loads(found[1]))


def html_of(page: str) -> str:
    """A page with only those characters escaped that have to be."""
    return page.replace("&#34;", '"').replace("&#39;", "'")


def test_a_run_ends_with_an_overview_and_a_page_a_category(finished: Finished) -> None:
    assert set(pages(finished.out)) == {"index.html", "categories/cloth.html", "categories/a%3Db x%2520y.html"}
    assert "a=b x%20y" in pages(finished.out)["index.html"]
    assert f"report   {finished.out}/report/index.html" in finished.stdout


def test_all_that_a_page_needs_is_in_the_report(finished: Finished) -> None:
    report = finished.out / "report"
    wanted = 0
    for name, text in pages(finished.out).items():
        links = re.findall(r'(?:src|href)="([^"]*)"', text)
        assert not [link for link in links if re.match(r"\w+:|//", link)]
        assert not re.search(r"@import|url\(", text)
        for link in links:
            assert ((report / name).parent / unquote(link)).resolve().is_file(), (name, link)
        wanted += len(links)
    assert wanted > 40


def test_the_overviews_numbers_are_the_parquets(finished: Finished) -> None:
    told = {
        name: each["summary"] for name, each in json.loads((finished.out / "report/pages.json").read_text()).items()
    }
    metrics = rows_of(finished.out / "metrics.parquet")
    for category, summary in told.items():
        (whole,) = [each for each in metrics if each["category"] == category and each["model"] == "ensemble"]
        rows = rows_of(finished.out / "scores" / "fused")
        rows = [each for each in rows if each["category"] == category and each["split"] == "test"]
        assert summary["image_auroc"] == whole["image_auroc"]
        assert summary["images"] == len(rows)
        assert summary["alarms"] == sum(bool(each["is_anomaly"]) for each in rows)
        assert summary["missed"] == sum(each["label"] == 1 and not each["is_anomaly"] for each in rows)
        assert sum(summary["spark"]["good"]) == summary["good"] + summary["held_out"]


def test_a_page_holds_the_scores_of_all_its_images(finished: Finished) -> None:
    text = pages(finished.out)["categories/cloth.html"]
    data = data_of(text)
    rows = rows_of(finished.out / "scores/fused/cloth.parquet")
    tested = {each["image_path"]: each["score"] for each in rows if each["split"] == "test"}
    assert {path: score for path, score, _ in data["images"]} == pytest.approx(tested, rel=1e-4)
    assert len(data["groups"]["good"]) + len(data["groups"]["defective"]) == len(tested)


def test_a_report_that_stands_is_not_made_again_and_a_changed_category_is(copied: Path) -> None:
    page, other = (copied / "report" / "categories" / name for name in ("cloth.html", "a%3Db x%2520y.html"))
    before = page.stat().st_mtime_ns, other.stat().st_mtime_ns
    assert call("report", "--run", str(copied)).code == 0
    assert (page.stat().st_mtime_ns, other.stat().st_mtime_ns) == before
    other.unlink()
    assert call("report", "--run", str(copied)).code == 0
    assert page.stat().st_mtime_ns == before[0]
    assert other.exists()


def test_another_runs_scores_can_be_shown_beside(finished: Finished, copied: Path) -> None:
    assert call("report", "--run", str(copied), "--beside", str(finished.out)).code == 0
    data = data_of(pages(copied)["categories/cloth.html"])
    assert data["beside"] == data["groups"]


def test_names_are_shown_and_never_run(finished: Finished) -> None:
    for text in pages(finished.out).values():
        assert "<script>alert" not in text
    page = pages(finished.out)["categories/cloth.html"]
    assert f"cloth/test/good/{escape(SCRIPT, quote=False)}" in html_of(page)
    assert SCRIPT in {Path(path).name for path, _, _ in data_of(page)["images"]}


def test_pictures_that_are_gone_leave_a_page_that_says_so(finished: Finished, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished.out, out)
    shutil.rmtree(out / "report")
    (tmp_path / "empty").mkdir()
    assert call("report", "--run", str(out), "--data", str(tmp_path / "empty")).code == 0
    assert 'class="gone"' in pages(out)["categories/cloth.html"]


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    done = call("report", "--run", str(tmp_path))
    assert done.code == 2
    assert "holds no run, no night and no scores" in done.stderr


def test_figures_are_files_in_the_formats_asked_for(finished: Finished, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished.out, out)
    formats = [word for kind in ("png", "svg", "pdf") for word in ("--figures", kind)]
    assert call("report", "--run", str(out), *formats).code == 0
    drawn = {path.name: path.read_bytes()[:5] for path in (out / "report" / "figures").iterdir()}
    starts = {"png": b"\x89PNG\r", "svg": b"<?xml", "pdf": b"%PDF-"}
    assert drawn == {
        f"{folder}-{what}.{kind}": start
        for folder in ("cloth", "a%3Db x%2520y")
        for what in ("scores", "curves", "examples")
        for kind, start in starts.items()
    }
