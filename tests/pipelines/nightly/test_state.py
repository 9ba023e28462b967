"""State of a nightly run: its files during the run, after an interruption and at the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from pipelines.data.records import INDEX
from pipelines.nightly.night_info import NightInfo, NightScope
from pipelines.nightly.state import NightRun
from pipelines.nightly.steps import NightStage, NightTask
from pipelines.registry.night_table import read_night
from pipelines.registry.statuses import ScoringResult, TrainingResult
from pipelines.storage.parquet import write_rows
from pipelines.storage.store import Store
from pipelines.tracking.run_info import RunStatus


def test_results_are_set_category_by_category(night_of: Callable[..., NightRun]) -> None:
    night = night_of()
    night.set_learned("bolt", TrainingResult.PASSED)
    night.set_judged("bolt", ScoringResult.DONE)
    night.set_failed("nut", NightTask.TRAIN)
    night.set_failed("nut", NightTask.SCORE)
    assert (night.row("bolt").learned, night.row("bolt").judged) == ("passed", "done")
    assert (night.row("nut").learned, night.row("nut").judged) == ("failed", "failed")
    assert night.row("cloth").learned is None


def test_a_failure_affects_one_category_and_sets_its_result(night_of: Callable[..., NightRun]) -> None:
    night = night_of()
    lengths = night.for_each(["bolt", "nut"], {"bolt": 1}.__getitem__, NightStage.TRAIN, NightTask.TRAIN)
    assert lengths == {"bolt": 1}
    assert night.record.failed == {"nut": "train: KeyError: 'nut'"}
    assert night.row("nut").learned == TrainingResult.FAILED
    night.for_each(["bolt"], {"nut": 1}.__getitem__, NightStage.PRUNE)
    assert night.row("bolt").learned is None  # the failure belongs to neither training nor scoring


@pytest.mark.parametrize(("task", "done"), [(NightTask.TRAIN, "trained"), (NightTask.SCORE, "scored")])
def test_deferred_categories_are_named_in_one_warning(
    night_of: Callable[..., NightRun], task: NightTask, done: str
) -> None:
    night = night_of()
    night.defer([], task)
    assert night.record.warnings == []
    night.defer(["bolt", "nut"], task)
    assert night.record.warnings == [f"Not {done} before the deadline, deferred to the next run (2): bolt, nut."]


def test_a_finished_run_stores_what_the_next_run_and_status_read(night_of: Callable[..., NightRun]) -> None:
    night = night_of()
    night.set_learned("nut", TrainingResult.DEFERRED)
    night.set_judged("bolt", ScoringResult.DEFERRED)
    night.save(RunStatus.COMPLETE)
    rows = read_night(night.out)
    assert list(rows) == ["bolt", "nut"]
    assert {row.run_id for row in rows.values()} == {night.record.run_id}
    assert read_night(night.work) == rows
    info = NightInfo.read(night.work)
    assert info.status is RunStatus.COMPLETE
    assert info.deferred == {NightTask.TRAIN: ("nut",), NightTask.SCORE: ("bolt",)}
    assert info.finished == (night.scope,)


def test_an_interrupted_run_keeps_the_results_of_the_previous_run(night_of: Callable[..., NightRun]) -> None:
    last = NightScope(run_id="last", scores="/scores", images="/data", bit_depth=16)
    night = night_of(previous=NightInfo(deferred={NightTask.TRAIN: ("nut",)}, finished=(last,)))
    night.set_judged("bolt", ScoringResult.DEFERRED)
    night.save(RunStatus.INTERRUPTED)
    assert list(read_night(night.out)) == ["bolt"]
    assert read_night(night.work) == {}
    info = NightInfo.read(night.work)
    assert info.scope == night.scope
    assert info.deferred == {NightTask.TRAIN: ("nut",), NightTask.SCORE: ()}
    assert info.finished == (last,)


def test_a_run_of_some_categories_keeps_the_results_of_the_others(night_of: Callable[..., NightRun]) -> None:
    first = night_of()
    for category in ("bolt", "nut"):
        first.set_learned(category, TrainingResult.DEFERRED)
    first.save(RunStatus.COMPLETE)
    second = night_of("bolt", previous=NightInfo.read(first.work))
    second.set_learned("bolt", TrainingResult.PASSED)
    second.save(RunStatus.COMPLETE)
    assert list(read_night(second.out)) == ["bolt"]
    assert {name: row.learned for name, row in read_night(second.work).items()} == {"bolt": "passed", "nut": "deferred"}
    info = NightInfo.read(second.work)
    assert info.deferred[NightTask.TRAIN] == ("nut",)
    assert info.finished == (second.scope, first.scope)


def test_a_run_of_all_categories_replaces_the_scopes_of_earlier_runs(night_of: Callable[..., NightRun]) -> None:
    of_some = night_of("bolt")
    of_some.save(RunStatus.COMPLETE)
    of_all = night_of(previous=NightInfo.read(of_some.work))
    of_all.save(RunStatus.COMPLETE)
    assert NightInfo.read(of_all.work).finished == (of_all.scope,)


def test_scores_of_other_images_are_not_reused(night_of: Callable[..., NightRun]) -> None:
    first = night_of()
    scores = Store.of(first.options.scores).below(first.record.run_id)
    row = {"image_path": "bolt/0.png", "category": "bolt", "split": "new", "defect": None}
    write_rows(scores, "index.parquet", [row], INDEX)
    assert set(night_of(previous=NightInfo(finished=(first.scope,))).previous_scores().index) == {"bolt/0.png"}
    for scope in (replace(first.scope, images="/elsewhere"), replace(first.scope, bit_depth=12)):
        assert night_of(previous=NightInfo(finished=(scope,))).previous_scores().index == {}
    assert night_of().previous_scores().index == {}


def test_the_remaining_time_is_counted_to_the_deadline(night_of: Callable[..., NightRun]) -> None:
    night = night_of()
    assert night.seconds_left() is None
    night.deadline = datetime.now().astimezone() + timedelta(hours=1)
    assert night.seconds_left() == pytest.approx(3600, abs=60)
