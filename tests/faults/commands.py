"""Commands that faults are injected into, what they leave behind, and a check that no half-written file is visible."""

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

import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import safe_open

from pipelines.storage.parquet import read_rows
from pipelines.storage.store import Store
from tests.pipelines.processes import start_alone, wait_for_process
from tests.pipelines.runs import BACKBONES, make_category

CATEGORIES = ("bolt", "cloth", "nut")
# Stage -> name of the process that does its work. With the recipe below every stage takes a second or more.
STAGES = {
    "index": "ray::index",
    "extract": "_Extractor",
    "fit": "RayTrainWorker",
    "select": "ray::select",
    "score": "ray::score",
    "fuse": "ray::fuse",
}
RECIPE = ("--backbone", BACKBONES[0], "--image-size", "96", "--coreset", "0.2", "--epochs", "200", "--max-steps", "100")
_DIFFERENT_IN_EACH_RUN = ("run_id", "scored_at", "fingerprint")


def make_data(root: Path, train: int = 40, test: int = 10) -> Path:
    """Make the categories of all fault tests and return their folder.

    Args:
        root: the folder.
        train: training images of each category.
        test: good test images of each category, and as many defective ones.
    """
    for number, name in enumerate(CATEGORIES):
        make_category(root / name, seed=3000 * number, train=train, good=test, defects=test)
    return root


class Command(Protocol):
    """A command of the package that can be called again and again."""

    def start(self) -> subprocess.Popen[str]:
        """Start it in a process of its own."""

    def wait_for_stage(self, running: subprocess.Popen[str], stage: str) -> int:
        """Wait until a process of the stage is at work; returns its pid."""


@dataclass(frozen=True)
class EnsembleCommand:
    """A run.

    Attributes:
        data: folder of the data, a path or a URI.
        out: run directory, a path or a URI.
        options: further options.
    """

    data: str
    out: str
    options: tuple[str, ...] = ()

    def start(self) -> subprocess.Popen[str]:
        folders = ("--data", self.data, "--out", self.out)
        return start_alone("ensemble", *folders, *RECIPE, "--maps", "--no-report", *self.options)

    def wait_for_stage(self, running: subprocess.Popen[str], stage: str) -> int:
        return wait_for_process(running, STAGES[stage])

    def outcome(self) -> dict[str, object]:
        return outcome_of(Store.of(self.out))


def command_in_store(root: str, uri_options: str, *options: str) -> EnsembleCommand:
    """Return a command whose data, run directory and scratch lie in an object store.

    Args:
        root: URI of a folder without options.
        uri_options: options of the store's URIs.
        options: further options of the command.
    """
    data, out, scratch = (f"{root}/{name}?{uri_options}" for name in ("data", "run", "scratch"))
    return EnsembleCommand(data, out, ("--scratch", scratch, *options))


def outcome_of(out: Store) -> dict[str, object]:
    """Return the results of a run, name -> content, without what differs in each run."""
    results: dict[str, object] = {}
    for folder in ("models", "scores", "maps"):
        for info in out.files(folder):
            results[out.name_of(info)] = content(out, out.name_of(info))
    for name in ("metrics.parquet", "index.parquet", "failures.parquet"):
        results[name] = content(out, name)
    return results


def content(store: Store, name: str) -> object:
    """Return a file's bytes; of a Parquet file the sorted rows, without what differs in each run."""
    if not name.endswith(".parquet"):
        return store.read(name)
    rows = read_rows(store, name)
    return sorted(
        repr({column: value for column, value in row.items() if column not in _DIFFERENT_IN_EACH_RUN}) for row in rows
    )


def finished_members(folder: Path) -> dict[Path, int]:
    """Return the adapters, banks and member scores in a run directory -> the time when each was written."""
    kept = (*folder.glob("models/**/*.safetensors"), *folder.glob("scores/members/**/*.parquet"))
    return {path: path.stat().st_mtime_ns for path in kept}


def finish(command: Command) -> None:
    """Call a command and check that it succeeds."""
    running = command.start()
    output, errors = running.communicate(timeout=420)
    assert running.returncode == 0, output + errors


def kill_driver(running: subprocess.Popen[str], stage: str) -> None:
    """Interrupt a call with kill -9, in any stage; an argument for `interrupt_calls`."""
    running.kill()
    running.communicate(timeout=60)


def kill_processes(command: Command, out: Path, stages: Iterable[str]) -> None:
    """Call a command, kill a process of Ray in each stage, and check that the call succeeds.

    Args:
        command: to be called once.
        out: folder in which no half-written file may be visible.
        stages: in the order in which the command reaches them.
    """
    with watched(out):
        running = command.start()
        for stage in stages:
            os.kill(command.wait_for_stage(running, stage), signal.SIGKILL)
        output, errors = running.communicate(timeout=300)
    assert running.returncode == 0, output + errors


def interrupt_calls(
    command: Command,
    out: Path,
    *,
    stages: Iterable[str],
    interrupt: Callable[[subprocess.Popen[str], str], None],
    members_in: Path | None = None,
) -> None:
    """Call a command once for each stage and interrupt it there; then check that a last call succeeds.

    No adapter, bank or member score that one call has finished may be written again by a later one.

    Args:
        command: to be called.
        out: folder in which no half-written file may be visible.
        stages: in the order in which the command reaches them.
        interrupt: given the running call and the stage that it has reached; ends the call.
        members_in: run directory that holds adapters, banks and member scores; `out` by default.
    """
    folder = members_in or out
    finished: dict[Path, int] = {}
    with watched(out):
        for stage in stages:
            running = command.start()
            command.wait_for_stage(running, stage)
            interrupt(running, stage)
            now = finished_members(folder)
            assert {path: now.get(path) for path in finished} == finished, stage
            finished = now
        finish(command)
    now = finished_members(folder)
    assert {path: now.get(path) for path in finished} == finished


@contextmanager
def watched(out: Path) -> Iterator[None]:
    """Read every file below a folder as soon as it is visible; fail at the end if one was not complete."""
    incomplete: list[str] = []
    ended = threading.Event()

    def watch() -> None:
        seen: set[tuple[str, int, int]] = set()
        while not ended.is_set():
            for path in _visible(out):
                try:
                    status = path.stat()
                    version = str(path), status.st_ino, status.st_mtime_ns
                    if version not in seen:
                        _read_whole(path)
                        seen.add(version)
                except FileNotFoundError:  # replaced or removed meanwhile
                    continue
                except Exception as error:
                    incomplete.append(f"{path.relative_to(out)}: {error}")
                    seen.add(version)
            time.sleep(0.02)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
    assert not incomplete


def _visible(out: Path) -> Iterator[Path]:
    for folder, below, names in os.walk(out):  # os.walk skips folders that disappear meanwhile
        if "train" in below and Path(folder).name == "_scratch":
            below.remove("train")  # Ray Train's own files are no results
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
        with pa.memory_map(str(path)) as file:
            pa.ipc.open_file(file).read_all()
