"""The processes of a run, found in /proc: to be killed in the middle of their work, or seen to be gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path


def start_alone(*arguments: str) -> subprocess.Popen[str]:
    """Start `reconpatch-run` as a user does, with a Ray of its own, and do not wait for it."""
    command = [sys.executable, "-m", "pipelines", *arguments]
    # In a shell's background SIGINT is ignored, and what is started there would inherit that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
        )
    finally:
        signal.signal(signal.SIGINT, before)


def children(pid: int) -> Iterator[tuple[int, str]]:
    """(pid, command line) of all descendants of a process."""
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
    """Wait until a process of Ray's is at work while another process runs, and return its pid.

    Args:
        running: the process that has to stay alive.
        name: part of the command line of Ray's process.
        seconds: how long to wait at most.
        among: pid whose descendants are looked at; by default those of `running`.
    """
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for pid, command in children(among or running.pid):
            if command.startswith("ray::") and name in command:
                return pid
        assert running.poll() is None, running.communicate()
        time.sleep(0.05)
    raise AssertionError(f"no process {name} within {seconds} s")
