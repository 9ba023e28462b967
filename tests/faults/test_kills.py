"""kill -9 in the middle of every stage: nothing that was finished is done again, and the results are the same."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.faults.places import STAGES, Place, finished_units, kill_a_process, kill_the_driver, reach, watched

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds Ray's processes in /proc")]


@pytest.mark.fault("kill -9 of the stage's process")
@pytest.mark.parametrize("stage", list(STAGES))
def test_a_killed_process_of_rays_costs_nothing(calm: Place, struck: Place, stage: str) -> None:
    kill_a_process(struck, Path(struck.out), lambda running: reach(running, stage))
    assert struck.outcome() == calm.outcome()


@pytest.mark.fault("kill -9 of the driver")
@pytest.mark.parametrize("stage", list(STAGES))
def test_after_a_killed_driver_the_next_call_goes_on(calm: Place, struck: Place, stage: str) -> None:
    out = Path(struck.out)
    kill_the_driver(struck, out, out, lambda running: reach(running, stage))
    assert struck.outcome() == calm.outcome()


@pytest.mark.fault("SIGINT or SIGTERM, in turn, to the driver")
@pytest.mark.parametrize("stage", list(STAGES))
def test_after_an_interruption_the_next_call_goes_on(calm: Place, struck: Place, stage: str) -> None:
    sent, code = ((signal.SIGINT, 130), (signal.SIGTERM, 143))[list(STAGES).index(stage) % 2]
    out = Path(struck.out)
    with watched(out):
        running = struck.start()
        reach(running, stage)
        running.send_signal(sent)
        _, errors = running.communicate(timeout=120)
        assert running.returncode == code, errors
        assert "Traceback" not in errors
        made = finished_units(out)
        struck.finish()
    assert struck.outcome() == calm.outcome()
    assert {path: stamp for path, stamp in finished_units(out).items() if path in made} == made
