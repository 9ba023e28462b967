"""What breaks at night: a process is killed in the middle, and in the morning all is as it would have been."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.pipelines.processes import start_alone, wait_for_process
from tests.pipelines.runs import BACKBONES, make_category

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds Ray's processes in /proc"),
]
CATEGORIES = ("bolt", "cloth", "nut")
# Steps enough that every stage takes a second or more.
RECIPE = ("--backbone", BACKBONES[0], "--image-size", "96", "--coreset", "0.2", "--epochs", "200", "--max-steps", "300")


@dataclass(frozen=True)
class Place:
    """Where a night works."""

    root: Path

    def start(self) -> subprocess.Popen[str]:
        place = ["--data", self.root / "data", "--registry", self.root / "registry", "--scores", self.root / "scores"]
        return start_alone("nightly", *map(str, place), *RECIPE)

    def reach(self, running: subprocess.Popen[str], stage: str) -> int:
        """Wait for a process of some stage; 'today' is the judging of today's images, when the gate has ruled."""
        until = time.monotonic() + 120
        while stage == "today" and len(list(self.root.glob("registry/*/current"))) < len(CATEGORIES):
            assert running.poll() is None, running.communicate()
            assert time.monotonic() < until, "the gate has not ruled"
            time.sleep(0.02)
        return wait_for_process(running, "_judge_some" if stage == "today" else stage)

    def finish(self) -> None:
        running = self.start()
        output, errors = running.communicate(timeout=300)
        assert running.returncode == 0, output + errors

    def outcome(self) -> dict[str, object]:
        """Every file of the registry's versions, and every row of scores, drift and the night's own table, run and time
        aside."""
        found: dict[str, object] = {}
        for path in self.root.glob("registry/*/*/**/*"):
            if path.is_file() and path.name != "ruling.json" and "drift" not in path.parts:
                found[str(path.relative_to(self.root))] = _content(path)
        for path in self.root.glob("registry/*/current"):
            found[str(path.relative_to(self.root))] = path.read_text()
        (night,) = self.root.glob("scores/*")
        for path in (*night.glob("scores/fused/*/*.parquet"), night / "night.parquet"):
            found[str(path.relative_to(night))] = _content(path)
        for category in self.root.glob("registry/*/drift"):
            (written,) = category.glob("*.parquet")  # its name tells of the run, and there is one a night
            found[str(category.relative_to(self.root))] = _content(written)
        return found


def _content(path: Path) -> object:
    if path.suffix != ".parquet":
        return path.read_bytes()
    rows = pq.read_table(path.open("rb")).to_pylist()
    return sorted(
        repr({name: value for name, value in row.items() if name not in ("run_id", "scored_at")}) for row in rows
    )


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A night without a fault."""
    place = Place(tmp_path_factory.mktemp("calm"))
    for number, name in enumerate(CATEGORIES):
        make_category(place.root / "data" / name, seed=3000 * number, train=40, good=10, defects=10)
    place.finish()
    return place


@pytest.fixture
def struck(calm: Place, tmp_path: Path) -> Place:
    shutil.copytree(calm.root / "data", tmp_path / "data", copy_function=shutil.copy2)
    return Place(tmp_path)


@pytest.mark.parametrize("stage", ["_Extract", "RayTrainWorker", "select_unit", "score_unit", "_judge_some", "today"])
def test_a_killed_process_of_rays_costs_nothing(calm: Place, struck: Place, stage: str) -> None:
    running = struck.start()
    os.kill(struck.reach(running, stage), signal.SIGKILL)
    output, errors = running.communicate(timeout=300)
    assert running.returncode == 0, output + errors
    assert struck.outcome() == calm.outcome()


@pytest.mark.parametrize("stage", ["_Extract", "RayTrainWorker", "score_unit", "_judge_some", "today"])
def test_after_a_killed_driver_the_next_call_goes_on(calm: Place, struck: Place, stage: str) -> None:
    running = struck.start()
    struck.reach(running, stage)
    running.kill()
    running.communicate(timeout=60)
    made = {path: path.stat().st_mtime_ns for path in struck.root.glob("registry/.work/models/**/*.safetensors")}
    struck.finish()
    assert struck.outcome() == calm.outcome()
    assert all(path.stat().st_mtime_ns == before for path, before in made.items())  # no finished unit is repeated
