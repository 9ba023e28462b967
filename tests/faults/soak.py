"""Half an hour of a cluster on which processes are killed at random: python -m tests.faults.soak --minutes 30 --seed 0

Rounds of the same job, many small categories, on one Ray that lives on as a factory's does. Processes are killed in
each, the driver's or Ray's, at times and by choices that the seed draws; a call whose driver is struck is made again,
until it has ended well. Then what it has made is compared with an undisturbed run's. Before and after, what is left
of it all is listed: processes, temporary files, and the bytes in Ray's object store.
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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from pipelines.storage import Store
from tests.faults.places import STAGES, outcome_of
from tests.pipelines.processes import children, start_alone
from tests.pipelines.runs import BACKBONES, make_category

_KILLS = 4  # a round at most, so that it ends
_LONGEST_PEACE = 25  # seconds between two: a round is struck in all its parts
_SHARED = (Path("/dev/shm"), Path("/tmp/ray"))  # where Ray puts things whatever the temporary folder is
_SETTLED_AFTER, _SETTLED_WITHIN = 60, 300  # seconds, in which Ray lets idle processes go: mostly, and at the latest
# Bytes at most that a driver killed by -9 leaves in the object store: what a task has in hand then, Ray 2.60 keeps.
_STAYS = 50_000
_RECIPE = ("--backbone", BACKBONES[0], "--image-size", "96", "--epochs", "60", "--max-steps", "60", "--coreset", "0.1")
_WORK = (*STAGES.values(), "Map")
_SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True)
class Left:
    """What there is outside the runs' own directories.

    Attributes:
        processes: names of the cluster's and their descendants → how many.
        files: below the soak's own temporary folder, which Ray has too, and Ray's usual one, but for Ray's logs; and in
            shared memory.
        object_store: bytes in use.
    """

    processes: Counter[str]
    files: frozenset[str]
    object_store: int

    def told(self) -> str:
        named = ", ".join(f"{count} {name}" for name, count in sorted(self.processes.items()))
        return f"{sum(self.processes.values())} processes ({named}); {len(self.files)} files; {self.object_store} bytes"


def left(address: str, own: Path) -> Left:
    from ray._private.internal_api import get_memory_info_reply, get_state_from_address

    names = Counter(_name_of(command) for _, command in children(os.getpid()))
    store = get_memory_info_reply(get_state_from_address(address)).store_stats.object_store_bytes_used
    found: set[str] = set()
    for place in (own, *_SHARED):
        for folder, below, files in os.walk(place):
            below[:] = [name for name in below if name != "logs"]
            found |= {f"{folder}/{name}" for name in files}
    return Left(names, frozenset(found), int(store))


def struck(start: Any, chance: random.Random) -> tuple[int, list[str]]:
    """Call until it has ended well, killing what chance says; returns how many calls, and what was killed.

    A call goes on to its good end whatever happens to Ray's processes: only one whose driver is struck may end early.
    """
    killed: list[str] = []
    for call in range(1, 20):
        running = start()
        driver_struck = False
        while running.poll() is None and len(killed) < _KILLS:
            time.sleep(chance.uniform(1, _LONGEST_PEACE))
            pid, name = _victim(running.pid, chance)
            sent = chance.choice(_SIGNALS) if name == "driver" else signal.SIGKILL
            if running.poll() is None:
                try:
                    os.kill(pid, sent)
                except ProcessLookupError:
                    continue
                killed.append(f"{name} {sent.name}")
                driver_struck |= name == "driver"
        try:
            output, errors = running.communicate(timeout=600)
        except subprocess.TimeoutExpired:
            raise SystemExit(f"it does not end after {killed}; at work: {sorted(_named())}") from None
        if running.returncode == 0:
            return call, killed
        if "Traceback" in errors:
            raise SystemExit(f"a traceback after {killed}:\n{output}{errors}")
        if not driver_struck:
            raise SystemExit(f"a call failed whose driver nothing happened to, after {killed}:\n{output}{errors}")
    raise SystemExit(f"it does not end well; the last call:\n{output}{errors}")


def _victim(driver: int, chance: random.Random) -> tuple[int, str]:
    """The driver one time in four, an actor that is Ray's own one time in eight, else a process at a stage's work."""
    named = _named()
    at_work = [each for each in named if each[1].startswith(_WORK)]
    others = [each for each in named if each not in at_work]
    drawn = chance.random()
    if drawn < 1 / 4 or not named:
        return driver, "driver"
    return chance.choice(others if others and (drawn < 3 / 8 or not at_work) else at_work)


def _named() -> list[tuple[int, str]]:
    """Pid and name of Ray's processes, but for those that wait and those of its dashboard."""
    return [
        (pid, command.split()[0].removeprefix("ray::"))
        for pid, command in children(os.getpid())
        if command.startswith("ray::") and not command.startswith(("ray::IDLE", "ray::Dashboard", "ray::RuntimeEnv"))
    ]


def _name_of(command: str) -> str:
    return (command.split() or ["defunct"])[0].rpartition("/")[2]


def _last_lines(own: Path, pid: int) -> list[str]:
    """Of the logs of one of Ray's processes."""
    logs = sorted(own.glob(f"ray/session_latest/logs/*[-_]{pid}.*"))
    return [f"{log.name}: {line}" for log in logs for line in log.read_text(errors="replace").splitlines()[-5:]]


@click.command(context_settings={"show_default": True})
@click.option("--minutes", type=float, default=30, help="Rounds begin until then.")
@click.option("--seed", type=int, default=0, help="Of what is killed when.")
@click.option("--categories", type=int, default=16)
def main(minutes: float, seed: int, categories: int) -> None:
    """Kill processes at random for a while and compare what comes out."""
    from ray.cluster_utils import Cluster

    chance = random.Random(seed)
    place = Path(tempfile.mkdtemp(prefix="soak-"))
    (place / "tmp").mkdir()
    os.environ |= {"TMPDIR": str(place / "tmp"), "RAY_TMPDIR": str(place / "tmp")}
    try:
        for number in range(categories):
            make_category(place / "data" / f"part {number:03d}", seed=2000 * number, train=8, good=3, defects=3)
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
        try:
            good = _soak(place, cluster.address, chance, minutes)
        finally:
            cluster.shutdown()
        time.sleep(5)
        still = [command[:120] for _, command in children(os.getpid())]
        print(f"after the cluster's end: {len(still)} processes {still or ''}")
    finally:
        shutil.rmtree(place)
    sys.exit(0 if good and not still else 1)


def _soak(place: Path, address: str, chance: random.Random, minutes: float) -> bool:
    """Whether every round came out right, and nothing is left that was not there before."""
    out = place / "run"

    def start() -> subprocess.Popen[str]:
        more = ("--maps", "--no-report", "--address", address, *_RECIPE)
        return start_alone("ensemble", "--data", str(place / "data"), "--out", str(out), *more)

    def quiet() -> dict[str, object]:
        _, errors = (running := start()).communicate(timeout=900)
        assert running.returncode == 0, errors
        found = outcome_of(Store.of(str(out)))
        shutil.rmtree(out)
        return found

    calm = quiet()
    time.sleep(_SETTLED_AFTER)
    before = left(address, place / "tmp")
    print(f"before: {before.told()}", flush=True)
    until = time.monotonic() + 60 * minutes
    number, all_same, drivers = 0, True, 0
    while time.monotonic() < until:
        number += 1
        since = time.monotonic()
        calls, killed = struck(start, chance)
        drivers += killed.count("driver SIGKILL")
        now = outcome_of(Store.of(str(out)))
        wrong = sorted(name for name in calm.keys() | now.keys() if calm.get(name) != now.get(name))
        hidden = [str(path) for path in out.rglob("*") if path.name.startswith(".") and path.is_file()]
        all_same = all_same and not wrong and not hidden
        verdict = "same" if not wrong else f"DIFFERENT: {wrong}"
        print(
            f"round {number}: {calls} calls, {len(killed)} kills ({', '.join(killed)}), "
            f"{time.monotonic() - since:.0f} s: {verdict}; temporary files left: {hidden or 0}",
            flush=True,
        )
        shutil.rmtree(out)
    ended = time.monotonic()
    time.sleep(_SETTLED_AFTER)
    while (after := left(address, place / "tmp")).processes - before.processes:
        if time.monotonic() > ended + _SETTLED_WITHIN:
            break
        time.sleep(10)
    more = dict(after.processes - before.processes)
    new = sorted(after.files - before.files)
    print(f"after {time.monotonic() - ended:.0f} s: {after.told()}")
    for pid, command in children(os.getpid()):
        if _name_of(command) in more:
            print(f"{command}:", *_last_lines(place / "tmp", pid), sep="\n  ")
    print(f"more processes: {more or 0}; new files: {new or 0}")
    print(f"object store: {before.object_store} → {after.object_store} bytes, of {drivers} drivers killed by -9")
    return all_same and not more and not new and after.object_store <= before.object_store + drivers * _STAYS


if __name__ == "__main__":
    main()
