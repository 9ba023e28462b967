"""Killed processes in a nightly run: the results are those of an undisturbed one."""

from __future__ import annotations

import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipelines.storage.store import Store
from tests.faults.commands import (
    CATEGORIES,
    RECIPE,
    content,
    finish,
    interrupt_calls,
    kill_driver,
    kill_processes,
    make_data,
)
from tests.faults.commands import STAGES as RUN_STAGES
from tests.pipelines.processes import start_alone, wait_for_process

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds Ray's processes in /proc"),
]
# Stage -> name of the process that does its work.
STAGES = {stage: RUN_STAGES[stage] for stage in ("extract", "fit", "select", "score")}
STAGES |= {"acceptance": "ray::predict", "today": "ray::predict"}


@dataclass(frozen=True)
class NightlyCommand:
    """A nightly run.

    Attributes:
        root: folder of data, registry and scores.
    """

    root: Path

    def start(self) -> subprocess.Popen[str]:
        folders = ["--data", self.root / "data", "--registry", self.root / "registry", "--scores", self.root / "scores"]
        return start_alone("nightly", *map(str, folders), *RECIPE, "--no-report")

    def wait_for_stage(self, running: subprocess.Popen[str], stage: str) -> int:
        """Wait for a process of a stage; 'today' is the scoring of the day's images, after the acceptance test."""
        until = time.monotonic() + 120
        while stage == "today" and len(list(self.root.glob("registry/*/current"))) < len(CATEGORIES):
            assert running.poll() is None, running.communicate()
            assert time.monotonic() < until, "the acceptance test has not ended"
            time.sleep(0.02)
        return wait_for_process(running, STAGES[stage])

    def outcome(self) -> dict[str, object]:
        """Return every file of the registry's versions, and all rows of scores, drift and night.parquet.

        What differs in each run is left out.
        """
        root = Store.of(str(self.root))
        versions = [path for path in self.root.glob("registry/*/*/**/*") if path.is_file()]
        (night,) = self.root.glob("scores/*")
        files = [path for path in versions if path.name != "ruling.json" and "drift" not in path.parts]
        files += [*self.root.glob("registry/*/current"), *night.glob("scores/fused/*/*.parquet")]
        names = [str(path.relative_to(self.root)) for path in files]
        results = {name.replace(night.name, "night"): content(root, name) for name in names}
        results["night"] = content(root, f"scores/{night.name}/night.parquet")
        for category in self.root.glob("registry/*/drift"):
            (written,) = category.glob("*.parquet")  # one file for each night
            results[str(category.relative_to(self.root))] = content(root, str(written.relative_to(self.root)))
        return results


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> NightlyCommand:
    """A nightly run that has ended without a fault."""
    command = NightlyCommand(tmp_path_factory.mktemp("undisturbed"))
    make_data(command.root / "data")
    finish(command)
    return command


@pytest.fixture
def disturbed(undisturbed: NightlyCommand, tmp_path: Path) -> NightlyCommand:
    shutil.copytree(undisturbed.root / "data", tmp_path / "data", copy_function=shutil.copy2)
    return NightlyCommand(tmp_path)


@pytest.mark.fault("a night: kill -9 of the stage's process", stages=tuple(STAGES))
def test_killed_processes_of_ray_do_not_change_the_results(
    undisturbed: NightlyCommand, disturbed: NightlyCommand
) -> None:
    kill_processes(disturbed, disturbed.root, STAGES)
    assert disturbed.outcome() == undisturbed.outcome()


@pytest.mark.fault("a night: kill -9 of the driver", stages=tuple(STAGES))
def test_after_a_killed_driver_the_next_call_continues(undisturbed: NightlyCommand, disturbed: NightlyCommand) -> None:
    work = disturbed.root / "registry" / ".work"
    interrupt_calls(disturbed, disturbed.root, stages=STAGES, interrupt=kill_driver, members_in=work)
    assert disturbed.outcome() == undisturbed.outcome()
