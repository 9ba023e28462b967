"""Where a run or a night works while it is struck, what it has left, and whether half of a file was ever to be seen."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pyarrow.parquet as pq
from safetensors import safe_open

from pipelines.storage import Store, read_rows
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

    def finish(self, code: int = 0) -> str:
        """Call it, to its end; what it said."""
        running = self.start()
        output, errors = running.communicate(timeout=420)
        assert running.returncode == code, output + errors
        return output + errors

    def outcome(self) -> dict[str, object]:
        return outcome_of(Store.of(self.out))


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


def reach(running: subprocess.Popen[str], stage: str) -> int:
    """Wait until a process of the stage is at work; its pid."""
    return wait_for_process(running, STAGES[stage])


class Work(Protocol):
    """A run or a night, as it is called."""

    def start(self) -> subprocess.Popen[str]: ...

    def finish(self) -> object: ...


def kill_a_process(work: Work, out: Path, reach: Callable[[subprocess.Popen[str]], int]) -> None:
    """Start it and kill the process of Ray's that is reached; it goes on to its end."""
    with watched(out):
        running = work.start()
        os.kill(reach(running), signal.SIGKILL)
        output, errors = running.communicate(timeout=300)
    assert running.returncode == 0, output + errors


def kill_the_driver(work: Work, out: Path, units: Path, reach: Callable[[subprocess.Popen[str]], int]) -> None:
    """Start it, kill the driver where a process is reached, and call it again: finished units stay as they are.

    Args:
        units: the folder that holds them.
    """
    with watched(out):
        running = work.start()
        reach(running)
        running.kill()
        running.communicate(timeout=60)
        made = finished_units(units)
        work.finish()
    assert {path: stamp for path, stamp in finished_units(units).items() if path in made} == made


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
            time.sleep(0.01)

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
