"""Nights, asserted by what they leave to be read: the registry's files and the Parquet."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipelines.lease import leased
from pipelines.storage import Store
from tests.pipelines.nights import RECIPE, Factory, Morning
from tests.pipelines.runs import BACKBONES, call, other_parts, rows_of, save, texture


@pytest.fixture(scope="module")
def second(factory: Factory, first: Morning) -> Morning:
    """Nothing to learn; one new image, and one that cannot be read."""
    save(factory.data / "cloth" / "test" / "good" / "late.png", texture(9999))
    (factory.data / "nut" / "test" / "good" / "broken.png").write_bytes(b"no picture")
    return factory.night("--report")


@pytest.fixture(scope="module")
def third(factory: Factory, second: Morning) -> Morning:
    """More of bolt, mislabelled images in cloth, nothing left of nut."""
    for number in range(2):
        save(factory.train("bolt") / f"new{number}.png", texture(700 + number))
    for number, odd in enumerate(other_parts()):
        save(factory.train("cloth") / f"odd{number}.png", odd)
    shutil.move(factory.train("nut"), factory.data.parent / "kept")
    return factory.night()


@pytest.fixture(scope="module")
def fourth(factory: Factory, third: Morning) -> Morning:
    """After a rollback by hand; cloth and nut are as they were."""
    assert factory.models("rollback", "--category", "bolt").code == 0
    for path in factory.train("cloth").glob("odd*.png"):
        path.unlink()
    shutil.move(factory.data.parent / "kept", factory.train("nut"))
    return factory.night()


def test_the_first_night_learns_and_judges_everything(first: Morning) -> None:
    assert first.done.code == 0, first.done.stderr
    assert {name: row["learned"] for name, row in first.told.items()} == {
        "bolt": "passed",
        "cloth": "unproven",
        "nut": "unproven",
    }
    for category, row in first.told.items():
        assert row["judged"] == "done"
        assert row["images"] == len(first.rows(category)) == 6
        assert first.current[category] == f"{row['model_version']}\n"
        for path, fused in first.rows(category).items():
            assert fused["split"] == "new"
            assert fused["label"] == (0 if "/good/" in path else 1)
            assert fused["model_version"] == row["model_version"]


def test_the_history_says_why(factory: Factory, first: Morning) -> None:
    """So that a night which is cut off after the ruling, and gone on with, tells the same."""
    (event,) = json.loads((factory.registry / "cloth" / "history.json").read_text())
    assert " ".join(event["reasons"]) == first.told["cloth"]["reasons"]
    assert "nothing is proven" in first.told["cloth"]["reasons"]


def test_every_night_has_its_report_and_the_last_ones_pictures(first: Morning, second: Morning) -> None:
    reports = [morning.scores / "report" for morning in (first, second)]
    for report, word in zip(reports, ("unproven", "unchanged"), strict=True):
        assert {path.name for path in report.rglob("*.html")} == {"index.html", "bolt.html", "cloth.html", "nut.html"}
        assert word in (report / "index.html").read_text()
        told = json.loads((report / "pages.json").read_text())["cloth"]["summary"]
        assert told["image_auroc"] == 1.0  # the labels of today's images are known
        assert told["pixel_auroc"] is None
    shown = [{path.name for path in (report / "media").iterdir()} for report in reports]
    assert len(shown[0]) > 20
    assert shown[0] <= shown[1]  # one image came in


def test_a_version_holds_what_a_runs_model_does(factory: Factory, first: Morning) -> None:
    folder = factory.registry / "bolt" / first.current["bolt"].strip()
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == {
        "model.json",
        "train.parquet",
        "audit.parquet",
        "ruling.json",
        f"{BACKBONES[0]}/memory_bank.safetensors",
        f"{BACKBONES[0]}/bank_index.parquet",
    }


def test_what_has_not_changed_is_not_done_again(first: Morning, second: Morning) -> None:
    assert second.done.code == 0, second.done.stderr
    assert {row["learned"] for row in second.told.values()} == {"unchanged"}
    assert second.current == first.current
    assert second.judged_now("bolt") == second.judged_now("nut") == set()
    assert second.judged_now("cloth") == {"cloth/test/good/late.png"}
    for category in ("bolt", "cloth", "nut"):
        for path, row in first.rows(category).items():
            again = second.rows(category)[path]
            assert {**again, "run_id": ""} == {**row, "run_id": ""}
            assert again["run_id"] == second.scores.name


def test_a_corrupt_file_is_a_row_of_failures_and_the_others_are_judged(second: Morning) -> None:
    failures = rows_of(second.scores / "failures.parquet")
    assert [row["image_path"] for row in failures] == ["nut/test/good/broken.png"]
    assert (second.told["nut"]["unreadable"], second.told["nut"]["images"]) == (1, 6)


def test_a_better_informed_candidate_takes_the_champions_place(
    factory: Factory, second: Morning, third: Morning
) -> None:
    assert third.told["bolt"]["learned"] == "passed"
    assert third.current["bolt"] != second.current["bolt"]
    ruling = json.loads((factory.registry / "bolt" / third.current["bolt"].strip() / "ruling.json").read_text())
    assert ruling["champion"] == second.current["bolt"].strip()
    assert ruling["images"] >= 20
    assert [each["of"] for each in ruling["comparisons"]] == ["pasted", "labelled"]
    assert third.judged_now("bolt") == set(third.rows("bolt"))


def test_mislabelled_images_are_named_and_the_champion_stays(factory: Factory, second: Morning, third: Morning) -> None:
    told = third.told["cloth"]
    assert told["learned"] == "refused"
    assert "good images are unlike all the others" in told["reasons"]
    assert third.current["cloth"] == second.current["cloth"]
    kept = factory.registry / "cloth" / told["candidate"]
    audit = rows_of(kept / "audit.parquet")
    odd = [row["image_path"] for row in audit if row["is_suspicious"]]
    assert set(odd) <= {f"cloth/train/good/odd{number}.png" for number in range(4)}
    assert len(odd) >= 2
    assert [row["suspicion"] for row in audit] == sorted((row["suspicion"] for row in audit), reverse=True)


def test_a_category_that_has_gone_empty_is_still_judged_by_its_champion(second: Morning, third: Morning) -> None:
    assert third.done.code == 1
    assert third.told["nut"]["learned"] == "failed"
    assert third.told["nut"]["judged"] == "done"
    assert third.current["nut"] == second.current["nut"]


def test_status_puts_first_what_wants_attention(factory: Factory, third: Morning) -> None:
    rows = json.loads(call("status", "--registry", str(factory.registry), "--json").stdout)
    assert [(row["category"], row["attention"]) for row in rows] == [
        ("nut", "failed"),
        ("cloth", "refused"),
        ("bolt", ""),
    ]


def test_what_was_rolled_back_stays_back_while_its_images_do_not_change(
    factory: Factory, first: Morning, fourth: Morning
) -> None:
    assert fourth.done.code == 0, fourth.done.stderr
    assert fourth.told["bolt"]["learned"] == "held back"
    assert fourth.current == first.current
    shown = json.loads(factory.models("show", "--category", "bolt").stdout)
    assert [event["event"] for event in shown["history"]] == ["promoted", "promoted", "rolled back"]
    assert fourth.told["cloth"]["learned"] == fourth.told["nut"]["learned"] == "unchanged"


def _drift_files(factory: Factory) -> list[Path]:
    return sorted((factory.registry / "bolt" / "drift").glob("*.parquet"))


def test_every_night_writes_its_drift_down(factory: Factory, fourth: Morning) -> None:
    rows = [row for path in _drift_files(factory) for row in rows_of(path)]
    assert len(rows) == 4
    assert [row["run_id"] for row in rows][-1] == fourth.scores.name
    assert all(0.0 <= row["ks"] <= 1.0 and row["images"] == 6 for row in rows)
    assert fourth.told["bolt"]["ks"] == rows[-1]["ks"]


def test_nothing_is_left_in_scratch(factory: Factory, fourth: Morning) -> None:
    assert not (factory.registry / ".work" / "_scratch").exists()


def test_score_takes_the_model_that_is_in_force(factory: Factory, fourth: Morning, tmp_path: Path) -> None:
    images = str(factory.data / "bolt" / "test")
    place = ("--model", str(factory.registry), "--images", images, "--out", str(tmp_path / "out"))
    assert call("score", *place, "--category", "bolt").code == 0
    (drift,) = rows_of(tmp_path / "out" / "drift.parquet")
    assert drift["ks"] == fourth.told["bolt"]["ks"]
    assert drift["run_id"] in {path.stem.rpartition("-")[2] + drift["run_id"][12:] for path in _drift_files(factory)}
    table = rows_of(tmp_path / "out" / "scores" / "fused" / "bolt" / "part-00000.parquet")
    theirs = fourth.rows("bolt")
    assert {f"bolt/test/{row['image_path']}": row["score"] for row in table} == {
        path: row["score"] for path, row in theirs.items()
    }


@pytest.fixture(scope="module")
def fifth(factory: Factory, fourth: Morning) -> Morning:
    """Of one category alone, whose model in force is damaged; a strip too narrow for a pasted defect is new there."""
    (factory.registry / "nut" / fourth.current["nut"].strip() / "model.json").write_text("{")
    for number in range(6):
        save(factory.train("nut") / f"strip{number}.png", texture(6000 + number, 12, 110))
    return factory.night("--category", "nut")


def test_a_model_that_cannot_be_asked_does_not_stand_in_the_way(fourth: Morning, fifth: Morning) -> None:
    assert fifth.done.code == 0, fifth.done.stderr
    assert fifth.told["nut"]["learned"] == "unproven"
    assert "The model in force cannot be asked: model.json is damaged" in fifth.told["nut"]["reasons"]
    assert fifth.current["nut"] != fourth.current["nut"]
    assert fifth.told["nut"]["judged"] == "done"


def test_a_night_of_one_category_leaves_what_is_known_of_the_others(factory: Factory, fifth: Morning) -> None:
    assert set(fifth.told) == {"nut"}
    rows = {
        row["category"]: row for row in json.loads(call("status", "--registry", str(factory.registry), "--json").stdout)
    }
    assert rows["bolt"]["attention"] == "held back"
    index = pq.read_table(factory.registry / ".work" / "index.parquet")["category"].to_pylist()
    assert set(index) == {"bolt", "cloth", "nut"}


def test_the_next_night_of_that_category_takes_its_rows_over(factory: Factory, fifth: Morning) -> None:
    again = factory.night("--category", "nut")
    assert again.told["nut"]["learned"] == "unchanged"
    assert again.judged_now("nut") == set()
    assert set(again.rows("nut")) == set(fifth.rows("nut"))


def test_a_folder_of_todays_images_that_is_not_there_is_refused(factory: Factory, fifth: Morning) -> None:
    done = call("nightly", *factory.place, *RECIPE, "--images", str(factory.data / "tuesday"))
    assert done.code == 2
    assert "there is no such folder, or nothing in it" in done.stderr


def test_two_nights_at_once_are_refused(factory: Factory, fourth: Morning) -> None:
    with leased(Store.of(str(factory.registry))):
        done = call("nightly", *factory.place, *RECIPE)
    assert done.code == 2
    assert "is in use by process" in done.stderr


def test_a_night_without_time_starts_nothing_and_says_what_is_first_tomorrow(
    factory: Factory, fifth: Morning, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(factory.train("bolt") / "another.png", texture(777))
    monkeypatch.setattr("pipelines.night.Night.seconds_left", lambda self: 0.5)
    late = factory.night("--deadline", "06:00")
    assert late.done.code == 0, late.done.stderr
    assert late.told["bolt"]["learned"] == "deferred"
    assert {row["judged"] for row in late.told.values()} == {"deferred"}
    assert late.current == fifth.current
    assert "bolt" in late.done.stderr
    work = json.loads((factory.registry / ".work" / "run.json").read_text())
    assert work["deferred"] == {"learn": ["bolt"], "judge": ["bolt", "cloth", "nut"]}
