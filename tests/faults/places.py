"""Where a run or a night works while it is struck, what it has left, and whether half of a file was ever to be seen."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pyarrow.parquet as pq
from safetensors import safe_open

from pipelines.storage import Store
from pipelines.tables import read_rows
from tests.pipelines.processes import start_alone, wait_for_process
from tests.pipelines.runs import BACKBONES, make_category

CATEGORIES = ("bolt", "cloth", "nut")
# Stage → what its process is called. Steps and entries enough that every stage takes a second or more.
STAGES = {
    "index": "examine_all",
    "extract": "_Extract",
    "fit": "RayTrainWorker",
    "select": "select_unit",
    "score": "score_unit",
    "fuse": "fuse_category",
}
RECIPE = ("--backbone", BACKBONES[0], "--image-size", "96", "--coreset", "0.2", "--epochs", "200", "--max-steps", "100")
_TELL_OF_THE_CALL = ("run_id", "scored_at")


def make_data(root: Path, train: int = 40, test: int = 10) -> Path:
    for number, name in enumerate(CATEGORIES):
        make_category(root / name, seed=3000 * number, train=train, good=test, defects=test)
    return root


@dataclass(frozen=True)
class Place:
    """A run's data and directory, paths or URIs, and its further options."""

    data: str
    out: str
    more: tuple[str, ...] = ()

    def start(self) -> subprocess.Popen[str]:
        place = ("--data", self.data, "--out", self.out)
        return start_alone("ensemble", *place, *RECIPE, "--maps", "--no-report", *self.more)

    def reach(self, running: subprocess.Popen[str], stage: str) -> int:
        """Wait until a process of the stage is at work; its pid."""
        return wait_for_process(running, STAGES[stage])

    def outcome(self) -> dict[str, object]:
        return outcome_of(Store.of(self.out))


def place_in(root: str, options: str, *more: str) -> Place:
    """Data, run and scratch in a folder of an object store.

    Args:
        options: of the store's URIs.
        more: options of the call.
    """
    data, out, scratch = (f"{root}/{name}?{options}" for name in ("data", "run", "scratch"))
    return Place(data, out, ("--scratch", scratch, *more))


def outcome_of(out: Store) -> dict[str, object]:
    """Name → content of all that a run is for; rows sorted, run and time aside."""
    found: dict[str, object] = {}
    for folder in ("models", "scores", "maps"):
        for info in out.files(folder):
            found[out.name_of(info)] = content(out, out.name_of(info))
    for name in ("metrics.parquet", "index.parquet", "failures.parquet"):
        found[name] = content(out, name)
    return found


def content(store: Store, name: str) -> object:
    if not name.endswith(".parquet"):
        return store.read(name)
    rows = read_rows(store, name)
    return sorted(
        repr({column: value for column, value in row.items() if column not in (*_TELL_OF_THE_CALL, "fingerprint")})
        for row in rows
    )


def finished_units(out: Path) -> dict[Path, int]:
    """Adapters, banks and members' scores that are there → when they were written."""
    kept = (*out.glob("models/**/*.safetensors"), *out.glob("scores/members/**/*.parquet"))
    return {path: path.stat().st_mtime_ns for path in kept}


class Work(Protocol):
    """A run or a night, as it is called."""

    def start(self) -> subprocess.Popen[str]: ...

    def reach(self, running: subprocess.Popen[str], stage: str) -> int:
        """Wait until a process of the stage is at work; its pid."""
        ...


def finish(work: Work) -> None:
    """Call it, to its good end."""
    running = work.start()
    output, errors = running.communicate(timeout=420)
    assert running.returncode == 0, output + errors


def kill_driver(running: subprocess.Popen[str], stage: str) -> None:
    """A strike for `strike_calls`: kill -9, in any stage."""
    running.kill()
    running.communicate(timeout=60)


def strike_processes(work: Work, out: Path, stages: Iterable[str]) -> None:
    """In one call, kill a process of Ray's in each stage; the call goes on to its end."""
    with watched(out):
        running = work.start()
        for stage in stages:
            os.kill(work.reach(running, stage), signal.SIGKILL)
        output, errors = running.communicate(timeout=300)
    assert running.returncode == 0, output + errors


def strike_calls(
    work: Work,
    out: Path,
    units: Path,
    stages: Iterable[str],
    strike: Callable[[subprocess.Popen[str], str], None],
) -> None:
    """Call it, strike it in a stage so that it ends, and call it again, to be struck in the next; then let it end well.

    Args:
        units: the folder that holds adapters, banks and members' scores: none that is finished is made again.
        strike: from the running call and the stage that is reached, to the call's end.
    """
    made: dict[Path, int] = {}
    with watched(out):
        for stage in stages:
            running = work.start()
            work.reach(running, stage)
            strike(running, stage)
            now = finished_units(units)
            assert {path: now.get(path) for path in made} == made, stage
            made = now
        finish(work)
    now = finished_units(units)
    assert {path: now.get(path) for path in made} == made


@contextmanager
def watched(out: Path) -> Iterator[None]:
    """Read every file that appears below a folder, from when it can be seen; one that is not whole fails the block."""
    torn: list[str] = []
    ended = threading.Event()

    def watch() -> None:
        seen: set[tuple[str, int, int]] = set()
        while not ended.is_set():
            for path in _visible(out):
                try:
                    status = path.stat()
                    stamp = str(path), status.st_ino, status.st_mtime_ns
                    if stamp not in seen:
                        _read_whole(path)
                        seen.add(stamp)
                except FileNotFoundError:  # replaced or removed meanwhile
                    continue
                except Exception as error:
                    torn.append(f"{path.relative_to(out)}: {error}")
                    seen.add(stamp)
            time.sleep(0.02)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
    assert not torn


def _visible(out: Path) -> Iterator[Path]:
    for folder, below, names in os.walk(out):  # which passes over folders that go meanwhile
        if "train" in below and Path(folder).name == "_scratch":
            below.remove("train")  # Ray Train's own, which is no result
        yield from (Path(folder) / name for name in names if not name.startswith("."))


def _read_whole(path: Path) -> None:
    if path.suffix == ".parquet":
        with path.open("rb") as file:
            pq.read_table(file)
    elif path.suffix == ".json":
        json.loads(path.read_text())
    elif path.suffix == ".safetensors":
        with safe_open(str(path), "np") as file:
            for name in file.keys():  # noqa: SIM118
                file.get_tensor(name)
    elif path.suffix == ".arrow":
        import pyarrow as pa

        with pa.memory_map(str(path)) as file:
            pa.ipc.open_file(file).read_all()
