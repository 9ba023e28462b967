"""The command `compare`: differences of metrics, their intervals, and images whose verdicts differ."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.pipelines.runs import Finished, call, rows_of


@pytest.fixture(scope="module")
def other(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the run in which one good and one defective image have other verdicts, and the good one a new score."""
    out = tmp_path_factory.mktemp("other") / "run"
    shutil.copytree(finished.out, out)
    file = out / "scores" / "fused" / "cloth.parquet"
    table = pq.read_table(file.open("rb"))
    rows = table.to_pylist()
    tested = [row for row in rows if row["split"] == "test"]
    good = min((row for row in tested if row["label"] == 0), key=lambda row: row["score"])
    defective = min((row for row in tested if row["label"] == 1), key=lambda row: row["score"])
    good["is_anomaly"] = not good["is_anomaly"]
    defective["is_anomaly"] = not defective["is_anomaly"]
    good["score"] = max(row["score"] for row in tested) + 1.0
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), file)
    return out


def test_differences_have_intervals(finished: Finished, other: Path, tmp_path: Path) -> None:
    done = call("compare", str(finished.out), str(other), "--out", str(tmp_path / "compared"))
    assert done.code == 0, done.stderr
    rows = {(row["category"], row["metric"]): row for row in rows_of(tmp_path / "compared/metrics.parquet")}
    auroc = rows["cloth", "image_auroc"]
    assert auroc["interval"] == "DeLong"
    assert auroc["low"] < auroc["difference"] < min(0.0, auroc["high"])
    assert auroc["difference"] == pytest.approx(auroc["b"] - auroc["a"])
    assert {row["interval"] for key, row in rows.items() if key[1] in ("image_ap", "d_prime")} == {"bootstrap"}
    assert rows["a=b x%20y", "image_auroc"]["difference"] == 0.0
    assert rows["(mean)", "image_auroc"]["difference"] == pytest.approx(auroc["difference"] / 2)
    assert rows["cloth", "pixel_auroc"]["low"] is None
    assert "cloth" in done.stdout


def test_images_with_different_verdicts_are_listed_with_the_run_that_is_correct(
    finished: Finished, other: Path, tmp_path: Path
) -> None:
    assert call("compare", str(finished.out), str(other), "--out", str(tmp_path / "compared")).code == 0
    changed = rows_of(tmp_path / "compared" / "changed.parquet")
    assert {row["label"] for row in changed} == {0, 1}
    for row in changed:
        assert row["is_anomaly_a"] != row["is_anomaly_b"]
        assert row["is_better"] == (row["is_anomaly_b"] == bool(row["label"]))
    page = (tmp_path / "compared" / "index.html").read_text()
    assert all(row["image_path"] in page for row in changed)


def test_a_run_does_not_differ_from_itself(finished: Finished, tmp_path: Path) -> None:
    assert call("compare", str(finished.out), str(finished.out), "--out", str(tmp_path / "compared")).code == 0
    rows = rows_of(tmp_path / "compared" / "metrics.parquet")
    assert {row["difference"] for row in rows} == {0.0}
    assert pq.read_table(tmp_path / "compared" / "changed.parquet").num_rows == 0


def test_images_with_different_contents_are_not_compared(finished: Finished, copied: Path) -> None:
    table = pq.read_table(copied / "index.parquet")
    rows = table.to_pylist()
    next(row for row in rows if row["split"] == "test")["content_sha256"] = "other"
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), copied / "index.parquet")
    done = call("compare", str(finished.out), str(copied))
    assert done.code == 0
    assert "1 images are not compared" in done.stderr
    assert (copied / "compare" / "index.html").exists()


def test_runs_without_a_common_image_are_an_error(finished: Finished, copied: Path) -> None:
    shutil.rmtree(copied / "scores" / "fused")
    done = call("compare", str(finished.out), str(copied))
    assert done.code == 2
    assert "have no scored image in common" in done.stderr
