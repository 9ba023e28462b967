"""Killed processes in a nightly run do not change the results."""

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
# Stage -> name of its worker process.
STAGES = {stage: RUN_STAGES[stage] for stage in ("extract", "fit", "select", "score")}
STAGES |= {"acceptance": "ray::predict", "today": "ray::predict"}


@dataclass(frozen=True)
class NightlyCommand:
    """The command of a nightly run, `reconpatch-run nightly`.

    Attributes:
        root: Folder of the folders `data`, `registry` and `scores`.
    """

    root: Path

    def start(self) -> subprocess.Popen[str]:
        """Start the command in a new process and return the process."""
        folders = ["--data", self.root / "data", "--registry", self.root / "registry", "--scores", self.root / "scores"]
        return start_alone("nightly", *map(str, folders), *RECIPE, "--no-report")

    def wait_for_stage(self, running: subprocess.Popen[str], stage: str) -> int:
        """Wait until a worker process of a stage runs, and return its pid.

        Args:
            running: Process of the command.
            stage: Key of `STAGES`; 'today' is the scoring of the day's images, after the acceptance tests.
        """
        until = time.monotonic() + 120
        while stage == "today" and len(list(self.root.glob("registry/*/current"))) < len(CATEGORIES):
            assert running.poll() is None, running.communicate()
            assert time.monotonic() < until, "The acceptance tests have not ended within 120 s."
            time.sleep(0.02)
        return wait_for_process(running, STAGES[stage])

    def outcome(self) -> dict[str, object]:
        """Return the files of all model versions, and the rows of scores, drift and night.parquet.

        Files and columns that differ in each run are not included.

        Returns:
            File name -> content, as `content` returns it.
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
            (drift,) = category.glob("*.parquet")  # one file for each nightly run
            results[str(category.relative_to(self.root))] = content(root, str(drift.relative_to(self.root)))
        return results


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> NightlyCommand:
    """A nightly run that completed without a fault."""
    command = NightlyCommand(tmp_path_factory.mktemp("undisturbed"))
    make_data(command.root / "data")
    finish(command)
    return command


@pytest.fixture
def disturbed(undisturbed: NightlyCommand, tmp_path: Path) -> NightlyCommand:
    """A command for a copy of the same data, which has not been called."""
    shutil.copytree(undisturbed.root / "data", tmp_path / "data", copy_function=shutil.copy2)
    return NightlyCommand(tmp_path)


@pytest.mark.fault("nightly run: worker process killed", stages=tuple(STAGES))
def test_killed_processes_of_ray_do_not_change_the_results(
    undisturbed: NightlyCommand, disturbed: NightlyCommand
) -> None:
    kill_processes(disturbed, disturbed.root, STAGES)
    assert disturbed.outcome() == undisturbed.outcome()


@pytest.mark.fault("nightly run: driver killed", stages=tuple(STAGES))
def test_after_a_killed_driver_the_next_call_resumes(undisturbed: NightlyCommand, disturbed: NightlyCommand) -> None:
    work = disturbed.root / "registry" / ".work"
    interrupt_calls(disturbed, disturbed.root, stages=STAGES, interrupt=kill_driver, members_in=work)
    assert disturbed.outcome() == undisturbed.outcome()
