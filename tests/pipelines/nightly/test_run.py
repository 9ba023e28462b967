"""Nightly runs, checked by their output: the files in the registry and the Parquet files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipelines.storage.lease import leased
from pipelines.storage.store import Store
from tests.pipelines.nights import RECIPE, Factory, NightOutput
from tests.pipelines.runs import BACKBONES, call, other_parts, rows_of, save, texture


@pytest.fixture(scope="module")
def second(factory: Factory, first: NightOutput) -> NightOutput:
    """Second run: nothing to train, one new image, one image that cannot be read."""
    save(factory.data / "cloth" / "test" / "good" / "late.png", texture(9999))
    (factory.data / "nut" / "test" / "good" / "broken.png").write_bytes(b"no picture")
    return factory.night("--report")


@pytest.fixture(scope="module")
def third(factory: Factory, second: NightOutput) -> NightOutput:
    """Third run: more training images of bolt, mislabeled ones in cloth, none of nut."""
    for number in range(2):
        save(factory.train("bolt") / f"new{number}.png", texture(700 + number))
    for number, mislabeled in enumerate(other_parts()):
        save(factory.train("cloth") / f"odd{number}.png", mislabeled)
    shutil.move(factory.train("nut"), factory.data.parent / "kept")
    return factory.night()


@pytest.fixture(scope="module")
def fourth(factory: Factory, third: NightOutput) -> NightOutput:
    """Fourth run: bolt was rolled back by hand; the images of cloth and nut are the original ones again."""
    assert factory.models("rollback", "--category", "bolt").code == 0
    for path in factory.train("cloth").glob("odd*.png"):
        path.unlink()
    shutil.move(factory.data.parent / "kept", factory.train("nut"))
    return factory.night()


def test_the_first_run_trains_and_scores_everything(first: NightOutput) -> None:
    assert first.done.code == 0, first.done.stderr
    assert {name: row["learned"] for name, row in first.categories.items()} == {
        "bolt": "passed",
        "cloth": "inconclusive",
        "nut": "inconclusive",
    }
    for category, row in first.categories.items():
        assert row["judged"] == "done"
        assert row["images"] == len(first.rows(category)) == 6
        assert first.current[category] == f"{row['model_version']}\n"
        for path, fused in first.rows(category).items():
            assert fused["split"] == "new"
            assert fused["label"] == (0 if "/good/" in path else 1)
            assert fused["model_version"] == row["model_version"]


def test_the_history_contains_the_reasons(factory: Factory, first: NightOutput) -> None:
    """A run that is interrupted after the acceptance test and resumed reads them from the history."""
    (event,) = json.loads((factory.registry / "cloth" / "history.json").read_text())
    assert " ".join(event["reasons"]) == first.categories["cloth"]["reasons"]
    assert "at least 20 to be conclusive" in first.categories["cloth"]["reasons"]


def test_every_run_writes_a_report_and_reuses_images_of_the_previous_report(
    first: NightOutput, second: NightOutput
) -> None:
    reports = [night.scores / "report" for night in (first, second)]
    for report, word in zip(reports, ("inconclusive", "unchanged"), strict=True):
        assert {path.name for path in report.rglob("*.html")} == {"index.html", "bolt.html", "cloth.html", "nut.html"}
        assert word in (report / "index.html").read_text()
        summary = json.loads((report / "pages.json").read_text())["cloth"]["summary"]
        assert summary["image_auroc"] == 1.0  # the labels of these images are known from their folders
        assert summary["pixel_auroc"] is None
    shown = [{path.name for path in (report / "media").iterdir()} for report in reports]
    assert len(shown[0]) > 20
    assert shown[0] <= shown[1]  # the second report contains one more image


def test_a_version_contains_the_files_of_a_runs_model_and_its_ruling(factory: Factory, first: NightOutput) -> None:
    folder = factory.registry / "bolt" / first.current["bolt"].strip()
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == {
        "model.json",
        "train.parquet",
        "audit.parquet",
        "ruling.json",
        f"{BACKBONES[0]}/memory_bank.safetensors",
        f"{BACKBONES[0]}/bank_index.parquet",
    }


def test_unchanged_categories_and_images_are_not_processed_again(first: NightOutput, second: NightOutput) -> None:
    assert second.done.code == 0, second.done.stderr
    assert {row["learned"] for row in second.categories.values()} == {"unchanged"}
    assert second.current == first.current
    assert second.scored_now("bolt") == second.scored_now("nut") == set()
    assert second.scored_now("cloth") == {"cloth/test/good/late.png"}
    for category in ("bolt", "cloth", "nut"):
        for path, row in first.rows(category).items():
            again = second.rows(category)[path]
            assert {**again, "run_id": ""} == {**row, "run_id": ""}
            assert again["run_id"] == second.scores.name


def test_a_corrupt_file_is_recorded_in_failures_and_the_others_are_scored(second: NightOutput) -> None:
    failures = rows_of(second.scores / "failures.parquet")
    assert [row["image_path"] for row in failures] == ["nut/test/good/broken.png"]
    assert (second.categories["nut"]["unreadable"], second.categories["nut"]["images"]) == (1, 6)


def test_a_candidate_with_more_images_replaces_the_active_model(
    factory: Factory, second: NightOutput, third: NightOutput
) -> None:
    assert third.categories["bolt"]["learned"] == "passed"
    assert third.current["bolt"] != second.current["bolt"]
    ruling = json.loads((factory.registry / "bolt" / third.current["bolt"].strip() / "ruling.json").read_text())
    assert ruling["champion"] == second.current["bolt"].strip()
    assert ruling["images"] >= 20
    assert [comparison["of"] for comparison in ruling["comparisons"]] == ["pasted", "labelled"]
    assert third.scored_now("bolt") == set(third.rows("bolt"))


def test_mislabeled_images_are_reported_and_the_active_model_stays(
    factory: Factory, second: NightOutput, third: NightOutput
) -> None:
    row = third.categories["cloth"]
    assert row["learned"] == "rejected"
    assert "good images are training outliers" in row["reasons"]
    assert third.current["cloth"] == second.current["cloth"]
    audit = rows_of(factory.registry / "cloth" / row["candidate"] / "audit.parquet")
    outliers = [image["image_path"] for image in audit if image["is_suspicious"]]
    assert set(outliers) <= {f"cloth/train/good/odd{number}.png" for number in range(4)}
    assert len(outliers) >= 2
    suspicions = [image["suspicion"] for image in audit]
    assert suspicions == sorted(suspicions, reverse=True)


def test_a_category_without_training_images_is_still_scored_by_its_active_model(
    second: NightOutput, third: NightOutput
) -> None:
    assert third.done.code == 1
    assert third.categories["nut"]["learned"] == "failed"
    assert third.categories["nut"]["judged"] == "done"
    assert third.current["nut"] == second.current["nut"]


def test_status_shows_the_most_urgent_first(factory: Factory, third: NightOutput) -> None:
    rows = json.loads(call("status", "--registry", str(factory.registry), "--json").stdout)
    assert [(row["category"], row["attention"]) for row in rows] == [
        ("nut", "failed"),
        ("cloth", "rejected"),
        ("bolt", ""),
    ]


def test_a_version_that_was_rolled_back_is_on_hold_while_its_images_do_not_change(
    factory: Factory, first: NightOutput, fourth: NightOutput
) -> None:
    assert fourth.done.code == 0, fourth.done.stderr
    assert fourth.categories["bolt"]["learned"] == "on hold"
    assert fourth.current == first.current
    shown = json.loads(factory.models("show", "--category", "bolt").stdout)
    assert [event["event"] for event in shown["history"]] == ["promoted", "promoted", "rolled back"]
    assert fourth.categories["cloth"]["learned"] == fourth.categories["nut"]["learned"] == "unchanged"


def _drift_files(factory: Factory) -> list[Path]:
    return sorted((factory.registry / "bolt" / "drift").glob("*.parquet"))


def test_every_run_writes_a_drift_file(factory: Factory, fourth: NightOutput) -> None:
    rows = [row for path in _drift_files(factory) for row in rows_of(path)]
    assert len(rows) == 4
    assert [row["run_id"] for row in rows][-1] == fourth.scores.name
    assert all(0.0 <= row["ks"] <= 1.0 and row["images"] == 6 for row in rows)
    assert fourth.categories["bolt"]["ks"] == rows[-1]["ks"]


def test_the_scratch_space_is_removed(factory: Factory, fourth: NightOutput) -> None:
    assert not (factory.registry / ".work" / "_scratch").exists()


def test_score_uses_the_active_model(factory: Factory, fourth: NightOutput, tmp_path: Path) -> None:
    images = str(factory.data / "bolt" / "test")
    place = ("--model", str(factory.registry), "--images", images, "--out", str(tmp_path / "out"))
    assert call("score", *place, "--category", "bolt").code == 0
    (drift,) = rows_of(tmp_path / "out" / "drift.parquet")
    assert drift["ks"] == fourth.categories["bolt"]["ks"]
    assert drift["run_id"] in {path.stem.rpartition("-")[2] + drift["run_id"][12:] for path in _drift_files(factory)}
    table = rows_of(tmp_path / "out" / "scores" / "fused" / "bolt" / "part-00000.parquet")
    of_night = fourth.rows("bolt")
    assert {f"bolt/test/{row['image_path']}": row["score"] for row in table} == {
        path: row["score"] for path, row in of_night.items()
    }


@pytest.fixture(scope="module")
def fifth(factory: Factory, fourth: NightOutput) -> NightOutput:
    """Fifth run: only nut, whose active model is damaged; some new images are too narrow for a pasted defect."""
    (factory.registry / "nut" / fourth.current["nut"].strip() / "model.json").write_text("{")
    for number in range(6):
        save(factory.train("nut") / f"strip{number}.png", texture(6000 + number, 12, 110))
    return factory.night("--category", "nut")


def test_an_active_model_that_cannot_be_read_does_not_prevent_a_promotion(
    fourth: NightOutput, fifth: NightOutput
) -> None:
    assert fifth.done.code == 0, fifth.done.stderr
    assert fifth.categories["nut"]["learned"] == "inconclusive"
    assert "The active model could not be compared: model.json is damaged" in fifth.categories["nut"]["reasons"]
    assert fifth.current["nut"] != fourth.current["nut"]
    assert fifth.categories["nut"]["judged"] == "done"


def test_a_run_of_one_category_does_not_change_the_state_of_the_others(factory: Factory, fifth: NightOutput) -> None:
    assert set(fifth.categories) == {"nut"}
    rows = {
        row["category"]: row for row in json.loads(call("status", "--registry", str(factory.registry), "--json").stdout)
    }
    assert rows["bolt"]["attention"] == "on hold"
    index = pq.read_table(factory.registry / ".work" / "index.parquet")["category"].to_pylist()
    assert set(index) == {"bolt", "cloth", "nut"}


def test_the_next_run_of_that_category_reuses_its_rows(factory: Factory, fifth: NightOutput) -> None:
    again = factory.night("--category", "nut")
    assert again.categories["nut"]["learned"] == "unchanged"
    assert again.scored_now("nut") == set()
    assert set(again.rows("nut")) == set(fifth.rows("nut"))


def test_a_folder_of_new_images_that_does_not_exist_is_an_error(factory: Factory, fifth: NightOutput) -> None:
    done = call("nightly", *factory.place, *RECIPE, "--images", str(factory.data / "tuesday"))
    assert done.code == 2
    assert "the folder does not exist or is empty" in done.stderr


def test_two_runs_at_once_are_an_error(factory: Factory, fourth: NightOutput) -> None:
    with leased(Store.of(str(factory.registry))):
        done = call("nightly", *factory.place, *RECIPE)
    assert done.code == 2
    assert "is in use by process" in done.stderr


def test_a_run_at_its_deadline_starts_nothing_and_defers_everything(
    factory: Factory, fifth: NightOutput, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(factory.train("bolt") / "another.png", texture(777))
    monkeypatch.setattr("pipelines.nightly.state.NightRun.seconds_left", lambda self: 0.5)
    late = factory.night("--deadline", "06:00")
    assert late.done.code == 0, late.done.stderr
    assert late.categories["bolt"]["learned"] == "deferred"
    assert {row["judged"] for row in late.categories.values()} == {"deferred"}
    assert late.current == fifth.current
    assert "bolt" in late.done.stderr
    work = json.loads((factory.registry / ".work" / "run.json").read_text())
    assert work["deferred"] == {"learn": ["bolt"], "judge": ["bolt", "cloth", "nut"]}
