"""Whole commands: what they take from the first keystroke on, and the private memory of all their processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_EVERY = 0.25  # seconds between two looks at the memory


@dataclass(frozen=True)
class Ran:
    """A finished command.

    Attributes:
        started: seconds since the epoch.
        seconds: from start to end.
        private_bytes: the largest sum over its process tree of what no other process shares (RssAnon).
    """

    started: float
    seconds: float
    private_bytes: int


def reconpatch(data: Path, out: Path, *options: str, cpus: int | None = None) -> Ran:
    """One network of the lite family at 224 px with the identity adapter, and no report: the others make none.

    Args:
        cpus: how many CPUs the command and all it starts may use; None for all.
    """
    command = [sys.executable, "-m", "pipelines", "ensemble", "--data", str(data), "--out", str(out)]
    network = ["--image-size", "224", "--backbone", "tf_efficientnet_lite0", "--epochs", "0", "--no-report"]
    return run([*command, *network, *options], cpus)


def run(command: Sequence[str], cpus: int | None = None) -> Ran:
    """Run a command to its end, quietly.

    Raises:
        SystemExit: it failed; the sentence ends in what it said last.
    """
    started = time.time()
    whole = command if cpus is None else pinned(command, allowed_cpus()[:cpus])
    with subprocess.Popen(whole, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        largest = 0
        said = ""
        while True:
            try:
                said = process.communicate(timeout=_EVERY)[0]
                break
            except subprocess.TimeoutExpired:
                largest = max(largest, sum(_private(pid) for pid in _tree(process.pid)))
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {process.returncode}: {said[-2000:]}")
    return Ran(started, time.time() - started, largest)


def allowed_cpus() -> list[int]:
    """The CPUs that this process may use."""
    return sorted(os.sched_getaffinity(0))


def pinned(command: Sequence[str], cpus: Sequence[int]) -> list[str]:
    """The command, kept with all it starts on the CPUs named."""
    return ["taskset", "--cpu-list", ",".join(map(str, cpus)), *command]


def shard_times(scratch: Path) -> list[float]:
    """When each feature shard of a run was finished, in order, in seconds since the epoch."""
    return sorted(path.stat().st_mtime for path in scratch.rglob("*.arrow"))


def _tree(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:  # it has ended meanwhile
                continue
            children.setdefault(parent, []).append(int(folder.name))
    found, waiting = [], [root]
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        waiting += children.get(pid, [])
    return found


def _private(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))
