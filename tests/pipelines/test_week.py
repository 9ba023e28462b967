"""A simulated week: forty categories, seven nights, and what goes wrong in a week.

It is read as people read it in the morning: the registry's files and the Parquet.
"""

from __future__ import annotations

import json
import shutil
import signal
import time
from pathlib import Path

import pytest

from tests.pipelines.nights import Factory, Morning
from tests.pipelines.processes import start_alone, wait_for_process
from tests.pipelines.runs import BACKBONES, make_category, other_parts, rows_of, save, texture

pytestmark = pytest.mark.slow

CATEGORIES = tuple(f"part{number:02d}" for number in range(40))
RECIPE = ("--backbone", BACKBONES[0], "--image-size", "96")
CHANGED, MISLABELLED, EMPTIED, CORRUPT, ROLLED_BACK, CRASHED = CATEGORIES[3], *CATEGORIES[10:15]


class Week(Factory):
    """A factory, what lay there on every morning, and how many seconds each night took."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, RECIPE)
        self.mornings: list[Morning] = []
        self.seconds: list[float] = []

    def night(self, *more: str) -> Morning:
        started = time.perf_counter()
        self.mornings.append(super().night(*more))
        self.seconds.append(time.perf_counter() - started)
        return self.mornings[-1]

    def crash(self) -> None:
        """A night whose driver is killed while its categories are scored."""
        running = start_alone("nightly", *self.place, *self.recipe)
        wait_for_process(running, "score_unit")
        running.send_signal(signal.SIGKILL)
        running.communicate(timeout=60)

    def add_good(self, category: str, seed: int, images: int = 3) -> None:
        for number in range(images):
            save(self.train(category) / f"seed{seed + number}.png", texture(seed + number))

    def learned(self, night: int) -> dict[str, set[str]]:
        """What was learned → the categories of which that is told."""
        found: dict[str, set[str]] = {}
        for category, row in self.mornings[night - 1].told.items():
            found.setdefault(row["learned"], set()).add(category)
        return found


@pytest.fixture(scope="module")
def week(tmp_path_factory: pytest.TempPathFactory) -> Week:
    made = Week(tmp_path_factory.mktemp("week"))
    for number, category in enumerate(CATEGORIES):
        make_category(made.data / category, seed=10_000 * number, train=12, good=2, defects=2)
    made.night()  # 1: all are new
    made.add_good(CHANGED, 501)
    (made.data / CORRUPT / "test" / "good" / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    made.night()  # 2: one has changed, one image is corrupt
    for category in (CRASHED, ROLLED_BACK):
        made.add_good(category, 601)
    made.crash()
    made.night()  # 3: goes on where it was killed
    for number, odd in enumerate(other_parts()):
        save(made.train(MISLABELLED) / f"odd{number}.png", odd)
    shutil.rmtree(made.train(EMPTIED))
    made.night()  # 4: mislabelled images in one, nothing left of another
    done = made.models("rollback", "--category", ROLLED_BACK)
    assert done.code == 0, done.stderr
    made.night()  # 5: after a rollback
    for path in made.train(MISLABELLED).glob("odd*.png"):
        path.unlink()
    made.add_good(ROLLED_BACK, 701)
    made.night()  # 6: put right
    made.night()  # 7: nothing has changed
    print("seconds of the nights:", [round(each) for each in made.seconds])
    return made


def test_on_the_first_night_every_category_gets_a_model(week: Week) -> None:
    assert week.mornings[0].done.code == 0
    assert week.learned(1) == {"unproven": set(CATEGORIES)}  # twelve images prove nothing, and that is said
    assert set(week.mornings[0].current) == set(CATEGORIES)


def test_every_morning_every_image_has_a_score_by_the_model_in_force(week: Week) -> None:
    for night in range(1, 8):
        for category in CATEGORIES:
            morning = week.mornings[night - 1]
            rows = morning.rows(category).values()
            assert len(rows) == 4
            assert {row["model_version"] for row in rows} == {morning.current[category].strip()}
            assert {row["run_id"] for row in rows} == {morning.scores.name}


def test_what_has_not_changed_is_not_learned_again(week: Week) -> None:
    assert week.mornings[1].done.code == 0
    assert week.learned(2) == {"unproven": {CHANGED}, "unchanged": set(CATEGORIES) - {CHANGED}}
    current = [morning.current for morning in week.mornings]
    changed = {category for category in CATEGORIES if current[1][category] != current[0][category]}
    assert changed == {CHANGED}


def test_a_corrupt_file_is_told_every_morning_until_it_is_gone(week: Week) -> None:
    for night in range(2, 8):
        failures = rows_of(week.mornings[night - 1].scores / "failures.parquet")
        assert f"{CORRUPT}/test/good/cut.png" in {row["image_path"] for row in failures}
        assert week.mornings[night - 1].told[CORRUPT]["unreadable"] == 1


def test_a_crash_is_gone_on_with(week: Week) -> None:
    """One folder of scores for the third night, though it was called twice."""
    assert week.mornings[2].done.code == 0
    assert week.learned(3)["unproven"] == {CRASHED, ROLLED_BACK}
    assert len(list(week.scores.iterdir())) == 7


def test_mislabelled_images_do_not_get_into_force(week: Week) -> None:
    assert week.mornings[3].told[MISLABELLED]["learned"] == "refused"
    assert "unlike all the others" in week.mornings[3].told[MISLABELLED]["reasons"]
    assert week.mornings[4].told[MISLABELLED]["learned"] == "held back"
    assert len({morning.current[MISLABELLED] for morning in week.mornings}) == 1
    assert week.mornings[5].told[MISLABELLED]["learned"] == "unchanged"  # what it is made of now is in force


def test_a_category_without_images_keeps_its_model(week: Week) -> None:
    for night in range(4, 8):
        assert week.mornings[night - 1].done.code == 1
        assert week.mornings[night - 1].told[EMPTIED]["learned"] == "failed"
        assert week.mornings[night - 1].told[EMPTIED]["judged"] == "done"
    assert len({morning.current[EMPTIED] for morning in week.mornings}) == 1


def test_what_is_rolled_back_stays_until_its_images_change(week: Week) -> None:
    versions = [morning.current[ROLLED_BACK] for morning in week.mornings]
    assert versions[0] == versions[1] != versions[2] == versions[3]
    assert versions[4] == versions[0]
    assert week.mornings[4].told[ROLLED_BACK]["learned"] == "held back"
    assert versions[5] not in versions[:5]
    assert versions[6] == versions[5]


def test_a_night_in_which_nothing_has_changed_scores_nothing_again(week: Week) -> None:
    assert set(week.learned(7)) == {"unchanged", "failed"}
    for category in CATEGORIES:
        before, after = (
            {path: row["scored_at"] for path, row in morning.rows(category).items()} for morning in week.mornings[5:]
        )
        assert after == before
    assert week.seconds[6] < week.seconds[0] / 4


def holdout(registry: Path, category: str) -> int:
    """How many held-out scores there are to compare with."""
    version = (registry / category / "current").read_text().strip()
    return len(json.loads((registry / category / version / "model.json").read_text())["holdout_scores"])


def test_the_registry_and_the_drift_tell_the_week(week: Week) -> None:
    registry = week.registry
    history = json.loads((registry / ROLLED_BACK / "history.json").read_text())
    assert [event["event"] for event in history] == ["promoted", "promoted", "rolled back", "promoted"]
    for category in set(CATEGORIES) - {CHANGED, CRASHED, ROLLED_BACK}:
        assert len(list((registry / category / "drift").glob("*.parquet"))) == (7 if holdout(registry, category) else 0)
    kept = {path.parent.name for path in (registry / MISLABELLED).glob("*/model.json")}
    assert len(kept) == 2


def test_nothing_is_left_over(week: Week) -> None:
    assert not (week.registry / ".work" / "_scratch").exists()
    assert not (week.registry / "lease.json").exists()
    assert not [path for path in week.data.parent.rglob("*.part")]
