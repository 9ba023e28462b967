"""A disk that is full in the middle of a stage: a sentence that says so, and with room again the next call goes on."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.places import STAGES, Place, strike_calls

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds Ray's processes in /proc")]
_SIZE = 96  # MB


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_SIZE}m", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(disk: Path) -> Path:
    """Take all that is left."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1 << 16))
        except OSError:
            pass
        try:
            while True:
                file.write(bytes(512))
        except OSError:
            pass
    return ballast


@pytest.mark.fault("disk full", stages=tuple(STAGES))
def test_with_room_again_the_next_call_goes_on(calm: Place, struck: Place, disk: Path) -> None:
    place = Place(struck.data, str(disk / "run"))

    def fill_up(running: subprocess.Popen[str], stage: str) -> None:
        ballast = fill(disk)
        output, errors = running.communicate(timeout=300)
        assert running.returncode == 1, stage + output + errors
        assert "No space left on device" in errors, stage
        assert "Traceback" not in errors
        ballast.unlink()

    strike_calls(place, disk, Path(place.out), STAGES, fill_up)
    assert place.outcome() == calm.outcome()
