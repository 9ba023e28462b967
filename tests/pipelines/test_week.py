"""Simulated week: forty categories and seven nightly runs with typical faults.

The test checks the files that users read: those of the registry and the Parquet files.
"""

from __future__ import annotations

import json
import shutil
import signal
import time
from pathlib import Path

import pytest

from tests.pipelines.nights import Factory, NightOutput
from tests.pipelines.processes import start_alone, wait_for_process
from tests.pipelines.runs import BACKBONES, make_category, other_parts, rows_of, save, texture

pytestmark = pytest.mark.slow

CATEGORIES = tuple(f"part{number:02d}" for number in range(40))
RECIPE = ("--backbone", BACKBONES[0], "--image-size", "96")
CHANGED, MISLABELED, EMPTIED, CORRUPT, ROLLED_BACK, CRASHED = CATEGORIES[3], *CATEGORIES[10:15]


class Week(Factory):
    """Factory that records its nightly runs.

    Attributes:
        nights: Output of each run.
        seconds: Wall time of each run in seconds.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root, RECIPE)
        self.nights: list[NightOutput] = []
        self.seconds: list[float] = []

    def night(self, *more: str) -> NightOutput:
        started = time.perf_counter()
        self.nights.append(super().night(*more))
        self.seconds.append(time.perf_counter() - started)
        return self.nights[-1]

    def crash(self) -> None:
        """Start a nightly run and kill its driver during training."""
        running = start_alone("nightly", *self.place, *self.recipe)
        wait_for_process(running, "ray::select")
        running.send_signal(signal.SIGKILL)
        running.communicate(timeout=60)

    def add_good(self, category: str, seed: int, images: int = 3) -> None:
        for number in range(images):
            save(self.train(category) / f"seed{seed + number}.png", texture(seed + number))

    def learned(self, night: int) -> dict[str, set[str]]:
        """Return training result -> categories with this result in a run.

        Args:
            night: Number of the run, from 1.
        """
        results: dict[str, set[str]] = {}
        for category, row in self.nights[night - 1].categories.items():
            results.setdefault(row["learned"], set()).add(category)
        return results


@pytest.fixture(scope="module")
def week(tmp_path_factory: pytest.TempPathFactory) -> Week:
    made = Week(tmp_path_factory.mktemp("week"))
    for number, category in enumerate(CATEGORIES):
        make_category(made.data / category, seed=10_000 * number, train=12, good=2, defects=2)
    made.night()  # 1: all categories are new
    made.add_good(CHANGED, 501)
    (made.data / CORRUPT / "test" / "good" / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    made.night()  # 2: one category has changed, one image is corrupt
    for category in (CRASHED, ROLLED_BACK):
        made.add_good(category, 601)
    made.crash()
    made.night()  # 3: resumes the killed run
    for number, mislabeled in enumerate(other_parts()):
        save(made.train(MISLABELED) / f"odd{number}.png", mislabeled)
    shutil.rmtree(made.train(EMPTIED))
    made.night()  # 4: mislabeled images in one category, no images in another
    done = made.models("rollback", "--category", ROLLED_BACK)
    assert done.code == 0, done.stderr
    made.night()  # 5: after a rollback
    for path in made.train(MISLABELED).glob("odd*.png"):
        path.unlink()
    made.add_good(ROLLED_BACK, 701)
    made.night()  # 6: the mislabeled images are removed
    made.night()  # 7: nothing has changed
    print("seconds of the runs:", [round(seconds) for seconds in made.seconds])
    return made


def test_the_first_run_trains_a_model_for_every_category(week: Week) -> None:
    assert week.nights[0].done.code == 0
    assert week.learned(1) == {"inconclusive": set(CATEGORIES)}  # twelve images are too few for a decision
    assert set(week.nights[0].current) == set(CATEGORIES)


def test_every_run_scores_every_image_by_the_active_model(week: Week) -> None:
    for night in range(1, 8):
        for category in CATEGORIES:
            run = week.nights[night - 1]
            rows = run.rows(category).values()
            assert len(rows) == 4
            assert {row["model_version"] for row in rows} == {run.current[category].strip()}
            assert {row["run_id"] for row in rows} == {run.scores.name}


def test_unchanged_categories_are_not_trained_again(week: Week) -> None:
    assert week.nights[1].done.code == 0
    assert week.learned(2) == {"inconclusive": {CHANGED}, "unchanged": set(CATEGORIES) - {CHANGED}}
    current = [run.current for run in week.nights]
    changed = {category for category in CATEGORIES if current[1][category] != current[0][category]}
    assert changed == {CHANGED}


def test_every_run_reports_a_corrupt_file(week: Week) -> None:
    for night in range(2, 8):
        failures = rows_of(week.nights[night - 1].scores / "failures.parquet")
        assert f"{CORRUPT}/test/good/cut.png" in {row["image_path"] for row in failures}
        assert week.nights[night - 1].categories[CORRUPT]["unreadable"] == 1


def test_a_killed_run_is_resumed(week: Week) -> None:
    """The third run was started twice and has a single folder of scores."""
    assert week.nights[2].done.code == 0
    assert week.learned(3)["inconclusive"] == {CRASHED, ROLLED_BACK}
    assert len(list(week.scores.iterdir())) == 7


def test_a_model_trained_on_mislabeled_images_is_not_promoted(week: Week) -> None:
    assert week.nights[3].categories[MISLABELED]["learned"] == "rejected"
    assert "training outliers" in week.nights[3].categories[MISLABELED]["reasons"]
    assert week.nights[4].categories[MISLABELED]["learned"] == "on hold"
    assert len({run.current[MISLABELED] for run in week.nights}) == 1
    # After the correction the images are those of the active model again.
    assert week.nights[5].categories[MISLABELED]["learned"] == "unchanged"


def test_a_category_without_images_keeps_its_model(week: Week) -> None:
    for night in range(4, 8):
        assert week.nights[night - 1].done.code == 1
        assert week.nights[night - 1].categories[EMPTIED]["learned"] == "failed"
        assert week.nights[night - 1].categories[EMPTIED]["judged"] == "done"
    assert len({run.current[EMPTIED] for run in week.nights}) == 1


def test_a_rollback_stays_until_the_images_change(week: Week) -> None:
    versions = [run.current[ROLLED_BACK] for run in week.nights]
    assert versions[0] == versions[1] != versions[2] == versions[3]
    assert versions[4] == versions[0]
    assert week.nights[4].categories[ROLLED_BACK]["learned"] == "on hold"
    assert versions[5] not in versions[:5]
    assert versions[6] == versions[5]


def test_a_run_without_changes_scores_nothing_again(week: Week) -> None:
    assert set(week.learned(7)) == {"unchanged", "failed"}
    for category in CATEGORIES:
        before, after = (
            {path: row["scored_at"] for path, row in run.rows(category).items()} for run in week.nights[5:]
        )
        assert after == before
    assert week.seconds[6] < week.seconds[0] / 4


def holdout(registry: Path, category: str) -> int:
    """Return the number of held-out scores of the active model."""
    version = (registry / category / "current").read_text().strip()
    return len(json.loads((registry / category / version / "model.json").read_text())["holdout_scores"])


def test_history_drift_and_versions_match_the_week(week: Week) -> None:
    registry = week.registry
    history = json.loads((registry / ROLLED_BACK / "history.json").read_text())
    assert [event["event"] for event in history] == ["promoted", "promoted", "rolled back", "promoted"]
    for category in set(CATEGORIES) - {CHANGED, CRASHED, ROLLED_BACK}:
        assert len(list((registry / category / "drift").glob("*.parquet"))) == (7 if holdout(registry, category) else 0)
    kept = {path.parent.name for path in (registry / MISLABELED).glob("*/model.json")}
    assert len(kept) == 2


def test_no_temporary_file_is_left(week: Week) -> None:
    assert not (week.registry / ".work" / "_scratch").exists()
    assert not (week.registry / "lease.json").exists()
    assert not [path for path in week.data.parent.rglob("*.part")]
