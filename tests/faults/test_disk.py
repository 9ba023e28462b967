"""A disk that is full in the middle of a stage: a sentence that says so, and with room again the next call goes on."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.places import Place, finished_units, reach, watched

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


@pytest.mark.fault("disk full")
@pytest.mark.parametrize("stage", ["extract", "fit", "select", "score", "fuse"])
def test_with_room_again_the_next_call_goes_on(calm: Place, struck: Place, disk: Path, stage: str) -> None:
    place = Place(struck.data, str(disk / "run"))
    out = Path(place.out)
    with watched(out):
        running = place.start()
        reach(running, stage)
        ballast = fill(disk)
        output, errors = running.communicate(timeout=300)
        assert running.returncode == 1, output + errors
        assert "No space left on device" in errors
        assert "Traceback" not in errors
        ballast.unlink()
        made = finished_units(out)
        place.finish()
    assert place.outcome() == calm.outcome()
    assert {path: stamp for path, stamp in finished_units(out).items() if path in made} == made
