"""Tests of compatibility: runs, registries and scores of an earlier version are read and continued.

`tests/data/first_round` has files that commit 763b951 wrote; its README describes how.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.pipelines.runs import BACKBONES, Finished, call, ensemble, files, lasting_rows, rows_of

STORED = Path(__file__).parents[1] / "data" / "first_round"
NIGHTS = ("57bee9a98ef4409bbec76f3b6048e914", "f024d181db884ed8af55bbe5edfa7839")
ACTIVE = {"_bolt": "3f30eb0ee2f0", "a=b x%20y": "3395230916d1", "cloth": "83e460ecd0bc"}
REJECTED = "05329b225db5"  # the second candidate of cloth
FOLDERS = {"_bolt": "_bolt", "a=b x%20y": "a%3Db x%2520y", "cloth": "cloth"}
METRICS = ("image_auroc", "image_ap", "image_f1max", "d_prime", "pixel_auroc", "pixel_ap", "pixel_f1max", "aupro")
# Columns of a scored image. If images are scored again, floating-point numbers differ slightly between CPUs and
# versions of torch.
FUSION_FILES = ("model.json", "train.parquet", "audit.parquet")  # of a model, written by the last stage
EXACT = ("is_anomaly", "peak_row", "peak_col", "nearest_backbone", "nearest_image", "model_version")
CLOSE = ("score", "p_value", "threshold", *(f"score_{backbone}" for backbone in BACKBONES))


@dataclass(frozen=True)
class Copies:
    """Copies of the stored folders that a test can change.

    Attributes:
        root: Folder of the copies.
    """

    root: Path

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def registry(self) -> Path:
        return self.root / "registry"

    @property
    def scores(self) -> Path:
        return self.root / "scores"

    def ensemble(self, *init: str) -> Finished:
        """Call the command of the stored run again, on the same images."""
        for path in (self.data / "cloth" / "train" / "good").glob("odd*.png"):
            path.unlink()
        return ensemble(self.data, self.run, "--maps", *init)

    def nightly(self) -> tuple[Finished, Path]:
        """Call the command of the stored nightly runs again; return the call and the folder of its scores."""
        member = ("--image-size", "96", "--epochs", "0", "--coreset", "0.05", "--backbone", BACKBONES[0])
        folders = ("--data", str(self.data), "--registry", str(self.registry), "--scores", str(self.scores))
        done = call("nightly", *folders, *member, "--holdout", "0.4", "--no-report")
        (new,) = {path.name for path in self.scores.iterdir()} - set(NIGHTS)
        return done, self.scores / new

    def models(self, command: str, *options: str) -> Finished:
        return call("models", command, "--registry", str(self.registry), *options)


@pytest.fixture
def copies(tmp_path: Path) -> Copies:
    for name in ("data", "run", "registry", "scores"):
        shutil.copytree(STORED / name, tmp_path / name)
    # A nightly run reuses the scores of the previous one only if the folders of scores and images have not moved.
    night = tmp_path / "registry" / ".work" / "run.json"
    night.write_text(night.read_text().replace("/tmp/factory", str(tmp_path)))
    return Copies(tmp_path)


def table_line(printed: str, *words: str) -> str:
    """Return the only line of a printed table that has all of the words."""
    (line,) = [line for line in printed.splitlines() if all(word in line for word in words)]
    return line


def assert_same_scores(rows: dict[str, dict[str, Any]], stored: dict[str, dict[str, Any]]) -> None:
    """Check the columns of scored images; both arguments map image paths to rows."""
    assert rows.keys() == stored.keys()
    for path, row in rows.items():
        for name in EXACT:
            assert row[name] == stored[path][name], (path, name)
        for name in CLOSE:
            if name in stored[path]:
                assert row[name] == pytest.approx(stored[path][name], rel=1e-3), (path, name)


@pytest.mark.parametrize("init", [("--init", "neighbors"), ("--start", "neighbours")], ids=["new names", "old names"])
def test_repeating_the_run_trains_and_scores_nothing(copies: Copies, init: tuple[str, str]) -> None:
    before = files(copies.run)
    done = copies.ensemble(*init)
    assert done.code == 0, done.stderr
    assert "6 of 6" in table_line(done.stdout, "reused")
    # Masks are read by another rule since then, so the stage that computes the metrics is repeated where there are any.
    masked = {row["category"] for row in rows_of(STORED / "run" / "index.parquet") if row["mask_path"]}
    fused_again = {f"{kind}/{FOLDERS[name]}.parquet" for name in masked for kind in ("scores/fused", "maps")}
    fused_again |= {f"models/{FOLDERS[name]}/{file}" for name in masked for file in FUSION_FILES}
    after = files(copies.run)
    assert masked
    assert {name for name in after if after[name] != before.get(name)} == fused_again
    for name in masked:
        fused = f"scores/fused/{FOLDERS[name]}.parquet"
        assert lasting_rows(copies.run / fused) == lasting_rows(STORED / "run" / fused)
    assert rows_of(copies.run / "metrics.parquet") == rows_of(STORED / "run" / "metrics.parquet")
    run_info, stored = (json.loads((folder / "run.json").read_text()) for folder in (copies.run, STORED / "run"))
    assert run_info["status"] == "complete"
    assert run_info["weights"] == stored["weights"]


@pytest.mark.slow
def test_another_initialization_trains_again(copies: Copies) -> None:
    """The option has an effect, so the previous test does not pass because it is ignored."""
    before = files(copies.run)
    done = copies.ensemble("--init", "raw", "--category", "_bolt")
    assert done.code == 0, done.stderr
    adapter = f"models/_bolt/{BACKBONES[0]}/adapter.safetensors"
    assert files(copies.run)[adapter] != before[adapter]


def test_evaluate_gives_the_same_metrics_scores_and_models(copies: Copies) -> None:
    done = call("evaluate", "--run", str(copies.run), "--data", str(copies.data))
    assert done.code == 0, done.stderr
    again, stored = (rows_of(run / "metrics.parquet") for run in (copies.run, STORED / "run"))
    assert [(row["category"], row["model"]) for row in again] == [(row["category"], row["model"]) for row in stored]
    for row, stored_row in zip(again, stored, strict=True):
        assert [row[name] for name in METRICS] == pytest.approx([stored_row[name] for name in METRICS], rel=1e-6)
        assert (row["n_good"], row["n_defect"]) == (stored_row["n_good"], stored_row["n_defect"])
    for folder in FOLDERS.values():
        for name in (f"scores/fused/{folder}.parquet", f"maps/{folder}.parquet"):
            assert lasting_rows(copies.run / name) == lasting_rows(STORED / "run" / name)
        model, stored_model = (
            json.loads((run / "models" / folder / "model.json").read_text()) for run in (copies.run, STORED / "run")
        )
        assert model["threshold"] == stored_model["threshold"]
        assert model["holdout_scores"] == stored_model["holdout_scores"]


def test_a_report_of_the_run_is_written(copies: Copies) -> None:
    done = call("report", "--run", str(copies.run), "--data", str(copies.data))
    assert done.code == 0, done.stderr
    index = (copies.run / "report" / "index.html").read_text()
    for category in FOLDERS:
        assert category in index
    assert len(list((copies.run / "report" / "media").iterdir())) > 20


def test_the_run_is_compared_with_itself(copies: Copies) -> None:
    done = call("compare", str(copies.run), str(STORED / "run"), "--out", str(copies.root / "compared"))
    assert done.code == 0, done.stderr
    assert "0.0000" in table_line(done.stdout, "cloth", "image_auroc")
    assert (copies.root / "compared" / "index.html").is_file()


def score_again(copies: Copies, model: Path, category: str) -> dict[str, dict[str, Any]]:
    """Score a category's test images with a stored model; return path relative to the data root → row."""
    images, out = copies.data / category / "test", copies.root / "new"
    done = call("score", "--model", str(model), "--images", str(images), "--category", category, "--out", str(out))
    assert done.code == 0, done.stderr
    rows = rows_of(out / "scores" / "fused" / FOLDERS[category] / "part-00000.parquet")
    return {f"{category}/test/{row['image_path']}": row for row in rows}


@pytest.mark.parametrize("category", ["a=b x%20y", pytest.param("cloth", marks=pytest.mark.slow)])
def test_a_model_of_the_run_gives_the_scores_of_the_run(copies: Copies, category: str) -> None:
    stored = rows_of(STORED / "run" / "scores" / "fused" / f"{FOLDERS[category]}.parquet")
    in_test = {row["image_path"]: row for row in stored if row["split"] == "test"}
    assert_same_scores(score_again(copies, copies.run, category), in_test)


@pytest.mark.parametrize("category", ["a=b x%20y", "cloth"])
def test_the_active_model_of_the_registry_gives_the_scores_of_both_nightly_runs(copies: Copies, category: str) -> None:
    scored = score_again(copies, copies.registry, category)
    for night in NIGHTS:
        stored = rows_of(STORED / "scores" / night / "scores" / "fused" / FOLDERS[category] / "part-00000.parquet")
        assert_same_scores(scored, {row["image_path"]: row for row in stored})


def test_the_next_nightly_run_trains_nothing_and_reuses_all_scores(copies: Copies) -> None:
    def versions() -> set[str]:
        return {path.parent.relative_to(copies.registry).as_posix() for path in copies.registry.glob("*/*/model.json")}

    before = versions()
    done, night = copies.nightly()
    assert done.code == 0, done.stderr
    assert versions() == before  # the rejected candidate is not trained again either
    rows = {row["category"]: row for row in rows_of(night / "night.parquet")}
    assert {category: row["learned"] for category, row in rows.items()} == {
        "_bolt": "unchanged",
        "a=b x%20y": "unchanged",
        "cloth": "on hold",
    }
    assert {category: row["model_version"] for category, row in rows.items()} == ACTIVE
    for category, folder in FOLDERS.items():
        assert (copies.registry / folder / "current").read_text() == f"{ACTIVE[category]}\n"
        fused = f"scores/fused/{folder}/part-00000.parquet"
        rows_now, stored = rows_of(night / fused), rows_of(STORED / "scores" / NIGHTS[-1] / fused)
        assert [{**row, "run_id": ""} for row in rows_now] == [{**row, "run_id": ""} for row in stored]
    printed = call("status", "--registry", str(copies.registry)).stdout
    assert table_line(printed, "cloth", ACTIVE["cloth"]).count("on hold") == 2  # columns "attention" and "learned"


def test_status_shows_the_stored_nightly_run_with_current_terms(copies: Copies) -> None:
    done = call("status", "--registry", str(copies.registry))
    assert done.code == 0, done.stderr
    assert table_line(done.stdout, "cloth", ACTIVE["cloth"]).count("rejected") == 2
    for category in ("_bolt", "a=b x%20y"):
        assert table_line(done.stdout, category, ACTIVE[category]).count("inconclusive") == 1
    table = done.stdout.partition("\ncloth: ")[0]  # after it follows the stored reason, which keeps its wording
    assert not any(old in table for old in ("refused", "unproven", "held back"))


def test_status_as_json_has_the_current_terms(copies: Copies) -> None:
    rows = {
        row["category"]: row for row in json.loads(call("status", "--registry", str(copies.registry), "--json").stdout)
    }
    assert (rows["cloth"]["attention"], rows["cloth"]["learned"]) == ("rejected", "rejected")
    assert (rows["_bolt"]["attention"], rows["_bolt"]["learned"]) == ("inconclusive", "unchanged")
    assert {category: row["model"] for category, row in rows.items()} == ACTIVE


def test_models_list_shows_the_versions_with_current_terms(copies: Copies) -> None:
    done = copies.models("list")
    assert done.code == 0, done.stderr
    for category, version in ACTIVE.items():
        line = table_line(done.stdout, category, version)
        assert "*" in line
        assert "inconclusive" in line
    rejected = table_line(done.stdout, "cloth", REJECTED)
    assert "*" not in rejected
    assert "rejected" in rejected
    assert "refused" not in done.stdout
    assert "unproven" not in done.stdout


def test_models_show_has_the_ruling_and_the_history_with_current_terms(copies: Copies) -> None:
    done = copies.models("show", "--category", "cloth", "--version", REJECTED)
    assert done.code == 0, done.stderr
    shown = json.loads(done.stdout)
    assert (shown["version"], shown["current"]) == (REJECTED, False)
    assert shown["ruling"]["status"] == "rejected"
    assert "fewer than 20" in shown["ruling"]["reasons"][0]
    assert [event["event"] for event in shown["history"]] == ["promoted", "rejected"]
    assert shown["history"][0]["status"] == "inconclusive"


def test_the_rejected_version_can_be_promoted_and_rolled_back(copies: Copies) -> None:
    current = copies.registry / "cloth" / "current"
    nothing_before = copies.models("rollback", "--category", "cloth")
    assert nothing_before.code == 2
    assert current.read_text() == f"{ACTIVE['cloth']}\n"
    promoted = copies.models("promote", "--category", "cloth", "--version", REJECTED)
    assert promoted.code == 0, promoted.stderr
    assert current.read_text() == f"{REJECTED}\n"
    rolled_back = copies.models("rollback", "--category", "cloth")
    assert rolled_back.code == 0, rolled_back.stderr
    assert current.read_text() == f"{ACTIVE['cloth']}\n"
    history = json.loads((copies.registry / "cloth" / "history.json").read_text())
    assert [(event["event"], event["version"]) for event in history[-2:]] == [
        ("promoted", REJECTED),
        ("rolled back", REJECTED),
    ]
