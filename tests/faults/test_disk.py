"""A disk that becomes full in a stage: the call fails with an error that names the cause, and the next call resumes."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.commands import STAGES, EnsembleCommand, interrupt_calls

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds Ray's processes in /proc")]
_SIZE = 96  # size of the file system in MB


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system that is mounted for the test."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={_SIZE}m", "tmpfs", str(folder)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("No file system can be mounted here.")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """Fill a file system and return the file that occupies the space.

    Args:
        disk: Mount point of the file system.
    """
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


@pytest.mark.fault("full disk", stages=tuple(STAGES))
def test_after_space_is_freed_the_next_call_resumes(
    undisturbed: EnsembleCommand, disturbed: EnsembleCommand, disk: Path
) -> None:
    command = EnsembleCommand(disturbed.data, str(disk / "run"))

    def fill_up(running: subprocess.Popen[str], stage: str) -> None:
        ballast = fill(disk)
        output, errors = running.communicate(timeout=300)
        assert running.returncode == 1, stage + output + errors
        assert "No space left on device" in errors, stage
        assert "Traceback" not in errors
        ballast.unlink()

    interrupt_calls(command, disk, stages=STAGES, interrupt=fill_up, members_in=Path(command.out))
    assert command.outcome() == undisturbed.outcome()
