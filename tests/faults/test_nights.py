"""What breaks at night: a process is killed in the middle, and in the morning all is as it would have been."""

from __future__ import annotations

import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipelines.storage import Store
from tests.faults.places import (
    CATEGORIES,
    RECIPE,
    content,
    finish,
    kill_driver,
    make_data,
    strike_calls,
    strike_processes,
)
from tests.pipelines.processes import start_alone, wait_for_process

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds Ray's processes in /proc"),
]
# Stage → what its process is called.
STAGES = {"extract": "_Extract", "fit": "RayTrainWorker", "select": "select_unit", "score": "score_unit"}
STAGES |= {"gate": "_judge_some", "today": "_judge_some"}


@dataclass(frozen=True)
class Place:
    """Where a night works."""

    root: Path

    def start(self) -> subprocess.Popen[str]:
        place = ["--data", self.root / "data", "--registry", self.root / "registry", "--scores", self.root / "scores"]
        return start_alone("nightly", *map(str, place), *RECIPE, "--no-report")

    def reach(self, running: subprocess.Popen[str], stage: str) -> int:
        """Wait for a process of some stage; 'today' is the judging of today's images, when the gate has ruled."""
        until = time.monotonic() + 120
        while stage == "today" and len(list(self.root.glob("registry/*/current"))) < len(CATEGORIES):
            assert running.poll() is None, running.communicate()
            assert time.monotonic() < until, "the gate has not ruled"
            time.sleep(0.02)
        return wait_for_process(running, STAGES[stage])

    def outcome(self) -> dict[str, object]:
        """Every file of the registry's versions, and every row of scores, drift and the night's own table, run and time
        aside."""
        root = Store.of(str(self.root))
        versions = [path for path in self.root.glob("registry/*/*/**/*") if path.is_file()]
        (night,) = self.root.glob("scores/*")
        files = [path for path in versions if path.name != "ruling.json" and "drift" not in path.parts]
        files += [*self.root.glob("registry/*/current"), *night.glob("scores/fused/*/*.parquet")]
        found = {str(path.relative_to(self.root)): content(root, str(path.relative_to(self.root))) for path in files}
        # The names of the others tell of the run.
        found = {name.replace(night.name, "night"): each for name, each in found.items()}
        found["night"] = content(root, f"scores/{night.name}/night.parquet")
        for category in self.root.glob("registry/*/drift"):
            (written,) = category.glob("*.parquet")  # one a night
            found[str(category.relative_to(self.root))] = content(root, str(written.relative_to(self.root)))
        return found


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A night without a fault."""
    place = Place(tmp_path_factory.mktemp("calm"))
    make_data(place.root / "data")
    finish(place)
    return place


@pytest.fixture
def struck(calm: Place, tmp_path: Path) -> Place:
    shutil.copytree(calm.root / "data", tmp_path / "data", copy_function=shutil.copy2)
    return Place(tmp_path)


@pytest.mark.fault("a night: kill -9 of the stage's process", stages=tuple(STAGES))
def test_killed_processes_of_rays_cost_nothing(calm: Place, struck: Place) -> None:
    strike_processes(struck, struck.root, STAGES)
    assert struck.outcome() == calm.outcome()


@pytest.mark.fault("a night: kill -9 of the driver", stages=tuple(STAGES))
def test_after_a_killed_driver_the_next_call_goes_on(calm: Place, struck: Place) -> None:
    strike_calls(struck, struck.root, struck.root / "registry" / ".work", STAGES, kill_driver)
    assert struck.outcome() == calm.outcome()
