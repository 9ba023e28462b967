"""Killed processes in every stage: finished members are not computed again, and the results are the same."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.faults.commands import STAGES, EnsembleCommand, interrupt_calls, kill_driver, kill_processes, watched
from tests.pipelines.processes import wait_for_process

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds Ray's processes in /proc")]


@pytest.mark.fault("worker process killed", stages=tuple(STAGES))
def test_killed_processes_of_ray_do_not_change_the_results(
    undisturbed: EnsembleCommand, disturbed: EnsembleCommand
) -> None:
    kill_processes(disturbed, Path(disturbed.out), STAGES)
    assert disturbed.outcome() == undisturbed.outcome()


# Stage -> name of its worker process while it starts.
STARTING = {"extract": "_Extractor)).__init__", "fit": "RayTrainWorker.run_train_fn"}


@pytest.mark.fault("worker process killed while it starts", stages=tuple(STARTING))
def test_processes_killed_while_they_start_do_not_change_the_results(
    undisturbed: EnsembleCommand, disturbed: EnsembleCommand
) -> None:
    with watched(Path(disturbed.out)):
        running = disturbed.start()
        for name in STARTING.values():
            os.kill(wait_for_process(running, name), signal.SIGKILL)
        output, errors = running.communicate(timeout=300)
    assert running.returncode == 0, output + errors
    assert disturbed.outcome() == undisturbed.outcome()


# Stage -> processes that report its progress, distribute its jobs or control its workers.
COORDINATION = {
    "fit": ("ProgressActor", "UnitQueue", "TrainController", "_fit"),
    "select": ("ProgressActor",),
    "score": ("ProgressActor",),
}


@pytest.mark.fault("coordination process killed", stages=tuple(COORDINATION))
def test_killed_coordination_processes_do_not_change_the_results(
    undisturbed: EnsembleCommand, disturbed: EnsembleCommand
) -> None:
    with watched(Path(disturbed.out)):
        running = disturbed.start()
        for stage, names in COORDINATION.items():
            for name in names:
                worker = Path("/proc") / str(disturbed.wait_for_stage(running, stage))
                os.kill(wait_for_process(running, name), signal.SIGKILL)
                while name in ("TrainController", "_fit") and worker.exists():  # The worker ends with them.
                    time.sleep(0.1)
        output, errors = running.communicate(timeout=300)
    assert running.returncode == 0, output + errors
    assert disturbed.outcome() == undisturbed.outcome()


@pytest.mark.fault("driver killed", stages=tuple(STAGES))
def test_after_a_killed_driver_the_next_call_resumes(undisturbed: EnsembleCommand, disturbed: EnsembleCommand) -> None:
    interrupt_calls(disturbed, Path(disturbed.out), stages=STAGES, interrupt=kill_driver)
    assert disturbed.outcome() == undisturbed.outcome()


@pytest.mark.fault("driver interrupted (SIGINT and SIGTERM, alternating)", stages=tuple(STAGES))
def test_after_an_interruption_the_next_call_resumes(undisturbed: EnsembleCommand, disturbed: EnsembleCommand) -> None:
    def interrupt(running: subprocess.Popen[str], stage: str) -> None:
        sent, code = ((signal.SIGINT, 130), (signal.SIGTERM, 143))[list(STAGES).index(stage) % 2]
        running.send_signal(sent)
        _, errors = running.communicate(timeout=120)
        assert running.returncode == code, stage + errors
        assert "Traceback" not in errors

    interrupt_calls(disturbed, Path(disturbed.out), stages=STAGES, interrupt=interrupt)
    assert disturbed.outcome() == undisturbed.outcome()
