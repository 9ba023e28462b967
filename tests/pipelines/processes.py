"""Helpers that find the processes of a run in /proc, so that tests can kill them or check that they have ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path


def start_alone(*arguments: str) -> subprocess.Popen[str]:
    """Start `reconpatch-run` in a new process with a new Ray session, and do not wait until it ends."""
    command = [sys.executable, "-m", "pipelines", *arguments]
    # A background process of a shell ignores SIGINT, and its child processes would inherit this.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
        )
    finally:
        signal.signal(signal.SIGINT, before)


def children(pid: int) -> Iterator[tuple[int, str]]:
    """Yield (pid, command line) of all descendants of a process."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, ProcessLookupError):
                continue
            parents.setdefault(parent, []).append(int(entry.name))
    waiting = list(parents.get(pid, []))
    while waiting:
        child = waiting.pop()
        waiting += parents.get(child, [])
        try:
            yield child, (Path("/proc") / str(child) / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue


def wait_for_process(
    running: subprocess.Popen[str], name: str, seconds: float = 300, *, among: int | None = None
) -> int:
    """Wait until a process of Ray is running, and return its pid.

    Args:
        running: Process that must not end while this function waits.
        name: Part of the command line of the Ray process.
        seconds: Timeout in seconds.
        among: pid of the process whose descendants are searched; None searches those of `running`.

    Raises:
        AssertionError: `running` has ended, or there is no such process within the timeout.
    """
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for pid, command in children(among or running.pid):
            if command.startswith("ray::") and name in command:
                return pid
        assert running.poll() is None, running.communicate()
        time.sleep(0.05)
    raise AssertionError(f"No process {name} was found within {seconds} s.")
