"""Run complete commands and measure their wall time and the private memory of all their processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_POLL_SECONDS = 0.25  # interval between two measurements of the memory


@dataclass(frozen=True)
class FinishedCommand:
    """A finished command.

    Attributes:
        started: Start time in seconds since the epoch.
        seconds: Wall time in seconds.
        private_bytes: Peak memory in bytes that is not shared with other processes (RssAnon), summed over the process
            tree.
    """

    started: float
    seconds: float
    private_bytes: int


def reconpatch(data: Path, out: Path, *options: str, cpus: int | None = None) -> FinishedCommand:
    """Run `reconpatch-run ensemble` of this source tree with one small backbone.

    Args:
        data: Folder of categories.
        out: Run directory.
        *options: Additional options of the command.
        cpus: Number of CPUs that the command and its child processes may use; None for all.

    Raises:
        SystemExit: The command failed; the message includes the end of its output.
    """
    return run([sys.executable, "-m", "pipelines", *one_network(data, out, *options)], cpus)


def one_network(data: Path, out: Path, *options: str) -> list[str]:
    """Return the arguments of a run with one backbone of the lite family at 224 px and the identity adapter.

    The run writes no report, because the implementations that it is compared with write none.

    Args:
        data: Folder of categories.
        out: Run directory.
        *options: Additional options of the command.
    """
    network = ["--image-size", "224", "--backbone", "tf_efficientnet_lite0", "--epochs", "0", "--no-report"]
    return ["ensemble", "--data", str(data), "--out", str(out), *network, *options]


def run(
    command: Sequence[str | Path],
    cpus: int | None = None,
    *,
    folder: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> FinishedCommand:
    """Run a command until it ends, without printing its output.

    Args:
        command: Program and its arguments.
        cpus: Number of CPUs that the command and its child processes may use; None for all.
        folder: Working directory; None for that of this process.
        environ: Environment variables; None for those of this process.

    Raises:
        SystemExit: The command failed; the message includes the end of its output.
    """
    words = list(map(str, command))
    started = time.time()
    pinned_words = words if cpus is None else pinned(words, allowed_cpus()[:cpus])
    with subprocess.Popen(
        pinned_words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder, env=environ
    ) as process:
        largest = 0
        output = ""
        while True:
            try:
                output = process.communicate(timeout=_POLL_SECONDS)[0]
                break
            except subprocess.TimeoutExpired:
                largest = max(largest, sum(_private_bytes(pid) for pid in _process_tree(process.pid)))
        if process.returncode:
            raise SystemExit(f"{' '.join(words)} failed with exit code {process.returncode}: {output[-2000:]}")
    return FinishedCommand(started, time.time() - started, largest)


def allowed_cpus() -> list[int]:
    """Return the numbers of the CPUs that this process may use, sorted."""
    return sorted(os.sched_getaffinity(0))


def pinned(command: Sequence[str], cpus: Sequence[int]) -> list[str]:
    """Return a command that runs another one on some CPUs only; its child processes inherit the restriction.

    Args:
        command: Program and its arguments.
        cpus: Numbers of the CPUs that it may use.
    """
    return ["taskset", "--cpu-list", ",".join(map(str, cpus)), *command]


def shard_times(scratch: Path) -> list[float]:
    """Return the time when each feature shard of a run was finished, in seconds since the epoch, sorted.

    Args:
        scratch: Scratch folder of the run.
    """
    return sorted(path.stat().st_mtime for path in scratch.rglob("*.arrow"))


def _process_tree(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:  # The process has ended.
                continue
            children.setdefault(parent, []).append(int(folder.name))
    tree, waiting = [], [root]
    while waiting:
        pid = waiting.pop()
        tree.append(pid)
        waiting += children.get(pid, [])
    return tree


def _private_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))
