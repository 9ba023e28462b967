"""Struck in the middle of every stage: nothing that was finished is done again, and the results are the same."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.faults.places import STAGES, Place, kill_driver, strike_calls, strike_processes, watched
from tests.pipelines.processes import wait_for_process

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds Ray's processes in /proc")]


@pytest.mark.fault("kill -9 of the stage's process", stages=tuple(STAGES))
def test_killed_processes_of_rays_cost_nothing(calm: Place, struck: Place) -> None:
    strike_processes(struck, Path(struck.out), STAGES)
    assert struck.outcome() == calm.outcome()


# Stage → what its process does before it is at work.
BEGINNINGS = {"extract": "_Extract)).__init__", "fit": "RayTrainWorker.run_train_fn"}


@pytest.mark.fault("kill -9 of the stage's process while it begins", stages=tuple(BEGINNINGS))
def test_processes_killed_while_they_begin_cost_nothing(calm: Place, struck: Place) -> None:
    with watched(Path(struck.out)):
        running = struck.start()
        for name in BEGINNINGS.values():
            os.kill(wait_for_process(running, name), signal.SIGKILL)
        output, errors = running.communicate(timeout=300)
    assert running.returncode == 0, output + errors
    assert struck.outcome() == calm.outcome()


# Stage → what tells the driver how far it is, hands out its units, or leads its workers.
ACCOUNTS = {"fit": ("Shares", "UnitQueue", "TrainController", "_fit"), "select": ("Shares",), "score": ("Shares",)}


@pytest.mark.fault("kill -9 of the stage's accounts", stages=tuple(ACCOUNTS))
def test_killed_accounts_cost_nothing(calm: Place, struck: Place) -> None:
    with watched(Path(struck.out)):
        running = struck.start()
        for stage, names in ACCOUNTS.items():
            for name in names:
                worker = Path("/proc") / str(struck.reach(running, stage))
                os.kill(wait_for_process(running, name), signal.SIGKILL)
                while name in ("TrainController", "_fit") and worker.exists():  # it ends with them
                    time.sleep(0.1)
        output, errors = running.communicate(timeout=300)
    assert running.returncode == 0, output + errors
    assert struck.outcome() == calm.outcome()


@pytest.mark.fault("kill -9 of the driver", stages=tuple(STAGES))
def test_after_a_killed_driver_the_next_call_goes_on(calm: Place, struck: Place) -> None:
    strike_calls(struck, Path(struck.out), Path(struck.out), STAGES, kill_driver)
    assert struck.outcome() == calm.outcome()


@pytest.mark.fault("SIGINT or SIGTERM, in turn, to the driver", stages=tuple(STAGES))
def test_after_an_interruption_the_next_call_goes_on(calm: Place, struck: Place) -> None:
    def interrupt(running: subprocess.Popen[str], stage: str) -> None:
        sent, code = ((signal.SIGINT, 130), (signal.SIGTERM, 143))[list(STAGES).index(stage) % 2]
        running.send_signal(sent)
        _, errors = running.communicate(timeout=120)
        assert running.returncode == code, stage + errors
        assert "Traceback" not in errors

    strike_calls(struck, Path(struck.out), Path(struck.out), STAGES, interrupt)
    assert struck.outcome() == calm.outcome()
