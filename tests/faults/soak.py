"""Kill processes of a cluster at random for some time: python -m tests.faults.soak --minutes 30 --seed 0

The same run of many small categories is repeated on one Ray cluster. In each round, the driver and processes of Ray are
killed; the seed determines which ones, and when. A call whose driver was killed is repeated until it succeeds. Then its
results are compared with those of a run without kills. Processes, temporary files and the bytes in Ray's object store
are counted before the first and after the last round, to detect leaks.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click

from pipelines.storage.store import Store
from tests.faults.commands import STAGES, outcome_of
from tests.pipelines.processes import children, start_alone
from tests.pipelines.runs import BACKBONES, make_category

_KILLS = 4  # maximum number of kills per round, so that the round ends
_LONGEST_PAUSE = 25  # seconds between two kills, so that they are distributed over all stages
_SHARED = (Path("/dev/shm"), Path("/tmp/ray"))  # folders in which Ray writes regardless of the temporary folder
_SETTLED_AFTER, _SETTLED_WITHIN = 60, 300  # usual and maximum time in seconds until Ray has ended idle processes
# If a driver is killed with SIGKILL, Ray 2.60 keeps the arguments of its running tasks in the object store: at most
# this number of bytes for each driver.
_KEPT_BYTES = 50_000
_RECIPE = ("--backbone", BACKBONES[0], "--image-size", "96", "--epochs", "60", "--max-steps", "60", "--coreset", "0.1")
_WORK = (*STAGES.values(), "Map")  # "Map" is the name of Ray Data's decoding tasks
_SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True)
class Leftovers:
    """Processes, files and memory that exist outside the run directories.

    Attributes:
        processes: Name -> number of processes of the cluster, including their descendants.
        files: Paths of the files in the temporary folders of this program and of Ray, without Ray's logs, and in shared
            memory.
        object_store: Bytes in use in Ray's object store.
    """

    processes: Counter[str]
    files: frozenset[str]
    object_store: int

    def summary(self) -> str:
        """Return the counts as one line of text."""
        named = ", ".join(f"{count} {name}" for name, count in sorted(self.processes.items()))
        return f"{sum(self.processes.values())} processes ({named}); {len(self.files)} files; {self.object_store} bytes"


def leftovers(address: str, temporary: Path) -> Leftovers:
    """Count the processes, temporary files and bytes in the object store of a cluster.

    Args:
        address: Address of the Ray cluster.
        temporary: Temporary folder of this program.
    """
    from ray._private.internal_api import get_memory_info_reply, get_state_from_address

    names = Counter(_name_of(command) for _, command in children(os.getpid()))
    store = get_memory_info_reply(get_state_from_address(address)).store_stats.object_store_bytes_used
    paths: set[str] = set()
    for root in (temporary, *_SHARED):
        for folder, below, files in os.walk(root):
            below[:] = [name for name in below if name != "logs"]
            paths |= {f"{folder}/{name}" for name in files}
    return Leftovers(names, frozenset(paths), int(store))


def call_and_kill(start: Callable[[], subprocess.Popen[str]], chance: random.Random) -> tuple[int, list[str]]:
    """Repeat a call until it succeeds, and kill processes at random while it runs.

    A call may fail only if its driver was killed. It must succeed if only processes of Ray were killed.

    Args:
        start: Function that starts the call.
        chance: Random generator that selects the processes and times of the kills.

    Returns:
        The number of calls, and the killed processes with the signals.

    Raises:
        SystemExit: A call failed although its driver was not killed, printed a traceback, or did not end; or no call
            succeeded.
    """
    killed: list[str] = []
    for call in range(1, 20):
        running = start()
        driver_killed = False
        while running.poll() is None and len(killed) < _KILLS:
            time.sleep(chance.uniform(1, _LONGEST_PAUSE))
            pid, name = _victim(running.pid, chance)
            sent = chance.choice(_SIGNALS) if name == "driver" else signal.SIGKILL
            if running.poll() is None:
                try:
                    os.kill(pid, sent)
                except ProcessLookupError:
                    continue
                killed.append(f"{name} {sent.name}")
                driver_killed |= name == "driver"
        try:
            output, errors = running.communicate(timeout=600)
        except subprocess.TimeoutExpired:
            raise SystemExit(f"A call does not end after {killed}. Running: {sorted(_ray_processes())}") from None
        if running.returncode == 0:
            return call, killed
        if "Traceback" in errors:
            raise SystemExit(f"A call printed a traceback after {killed}:\n{output}{errors}")
        if not driver_killed:
            raise SystemExit(f"A call failed although its driver was not killed, after {killed}:\n{output}{errors}")
    raise SystemExit(f"No call succeeded. Output of the last one:\n{output}{errors}")


def _victim(driver: int, chance: random.Random) -> tuple[int, str]:
    """Return the driver with probability 1/4, a coordination process of Ray with 1/8, otherwise a worker of a stage."""
    processes = _ray_processes()
    workers = [process for process in processes if process[1].startswith(_WORK)]
    coordination = [process for process in processes if process not in workers]
    drawn = chance.random()
    if drawn < 1 / 4 or not processes:
        return driver, "driver"
    return chance.choice(coordination if coordination and (drawn < 3 / 8 or not workers) else workers)


def _ray_processes() -> list[tuple[int, str]]:
    """Return pid and name of the processes of Ray, without idle ones and those of the dashboard."""
    return [
        (pid, command.split()[0].removeprefix("ray::"))
        for pid, command in children(os.getpid())
        if command.startswith("ray::") and not command.startswith(("ray::IDLE", "ray::Dashboard", "ray::RuntimeEnv"))
    ]


def _name_of(command: str) -> str:
    return (command.split() or ["defunct"])[0].rpartition("/")[2]


def _last_log_lines(temporary: Path, pid: int) -> list[str]:
    """Return the last lines of the logs of one of Ray's processes."""
    logs = sorted(temporary.glob(f"ray/session_latest/logs/*[-_]{pid}.*"))
    return [f"{log.name}: {line}" for log in logs for line in log.read_text(errors="replace").splitlines()[-5:]]


@dataclass(frozen=True)
class Soak:
    """A soak test: repeated runs with kills on one cluster.

    Attributes:
        folder: Folder of the dataset `data`, the run directory `run` and the temporary folder `tmp`.
        address: Address of the Ray cluster.
    """

    folder: Path
    address: str

    @property
    def out(self) -> Path:
        """Run directory."""
        return self.folder / "run"

    def start(self) -> subprocess.Popen[str]:
        """Start the run in a new process and return the process."""
        options = ("--maps", "--no-report", "--address", self.address, *_RECIPE)
        return start_alone("ensemble", "--data", str(self.folder / "data"), "--out", str(self.out), *options)

    def leftovers(self) -> Leftovers:
        """Return what exists outside the run directory now."""
        return leftovers(self.address, self.folder / "tmp")

    def run(self, chance: random.Random, minutes: float) -> bool:
        """Run all rounds; return whether all results are right and no new processes, files or bytes remain.

        Args:
            chance: Random generator that selects the processes and times of the kills.
            minutes: Time during which new rounds start.
        """
        expected = self.undisturbed()
        time.sleep(_SETTLED_AFTER)
        before = self.leftovers()
        print(f"before: {before.summary()}", flush=True)
        until = time.monotonic() + 60 * minutes
        number, all_same, killed_drivers = 0, True, 0
        while time.monotonic() < until:
            number += 1
            same, killed = self.round(number, chance, expected)
            all_same &= same
            killed_drivers += killed.count("driver SIGKILL")
        return self.settled(before, killed_drivers) and all_same

    def undisturbed(self) -> dict[str, object]:
        """Return the results of a run without kills."""
        running = self.start()
        _, errors = running.communicate(timeout=900)
        assert running.returncode == 0, errors
        results = outcome_of(Store.of(str(self.out)))
        shutil.rmtree(self.out)
        return results

    def round(self, number: int, chance: random.Random, expected: dict[str, object]) -> tuple[bool, list[str]]:
        """Complete the run once with kills.

        Args:
            number: Number of the round, for the output.
            chance: Random generator that selects the processes and times of the kills.
            expected: Results of a run without kills.

        Returns:
            Whether the results are as expected and no temporary file remains, and the killed processes.
        """
        started = time.monotonic()
        calls, killed = call_and_kill(self.start, chance)
        results = outcome_of(Store.of(str(self.out)))
        different = sorted(name for name in expected.keys() | results.keys() if expected.get(name) != results.get(name))
        temporary = [str(path) for path in self.out.rglob("*") if path.name.startswith(".") and path.is_file()]
        print(
            f"round {number}: {calls} calls, {len(killed)} kills ({', '.join(killed)}), "
            f"{time.monotonic() - started:.0f} s: {f'DIFFERENT: {different}' if different else 'same'}; "
            f"remaining temporary files: {temporary or 0}",
            flush=True,
        )
        shutil.rmtree(self.out)
        return not different and not temporary, killed

    def settled(self, before: Leftovers, killed_drivers: int) -> bool:
        """Wait until Ray has ended its idle processes; return whether no new processes, files or bytes remain.

        Args:
            before: Leftovers before the first round.
            killed_drivers: Number of drivers that were killed with SIGKILL.
        """
        ended = time.monotonic()
        time.sleep(_SETTLED_AFTER)
        while (after := self.leftovers()).processes - before.processes:
            if time.monotonic() > ended + _SETTLED_WITHIN:
                break
            time.sleep(10)
        new_processes = dict(after.processes - before.processes)
        new_files = sorted(after.files - before.files)
        print(f"after {time.monotonic() - ended:.0f} s: {after.summary()}")
        for pid, command in children(os.getpid()):
            if _name_of(command) in new_processes:
                print(f"{command}:", *_last_log_lines(self.folder / "tmp", pid), sep="\n  ")
        print(f"new processes: {new_processes or 0}; new files: {new_files or 0}")
        growth = after.object_store - before.object_store
        print(
            f"object store: {before.object_store} -> {after.object_store} bytes, "
            f"{killed_drivers} drivers killed with SIGKILL"
        )
        return not new_processes and not new_files and growth <= killed_drivers * _KEPT_BYTES


@click.command(context_settings={"show_default": True})
@click.option("--minutes", type=float, default=30, help="Time during which new rounds start, in minutes.")
@click.option("--seed", type=int, default=0, help="Seed of the choice of processes and times of the kills.")
@click.option("--categories", type=int, default=16, help="Number of categories of the run.")
def main(minutes: float, seed: int, categories: int) -> None:
    """Kill processes of repeated runs at random, compare the results, and check for leaks."""
    from ray.cluster_utils import Cluster

    chance = random.Random(seed)
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    (folder / "tmp").mkdir()
    os.environ |= {"TMPDIR": str(folder / "tmp"), "RAY_TMPDIR": str(folder / "tmp")}
    try:
        for number in range(categories):
            make_category(folder / "data" / f"part {number:03d}", seed=2000 * number, train=8, good=3, defects=3)
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
        try:
            soak = Soak(folder, cluster.address)
            passed = soak.run(chance, minutes)
        finally:
            cluster.shutdown()
        time.sleep(5)
        remaining = [command[:120] for _, command in children(os.getpid())]
        print(f"after the shutdown of the cluster: {len(remaining)} processes {remaining or ''}")
    finally:
        shutil.rmtree(folder)
    sys.exit(0 if passed and not remaining else 1)


if __name__ == "__main__":
    main()
