"""Commands for fault tests, the comparison of their results, and a check that no partial file is visible."""

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
# Stage -> name of its worker process. With the recipe below, every stage takes at least one second.
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
    """Create the dataset of the fault tests.

    Args:
        root: Folder of the dataset.
        train: Number of training images of each category.
        test: Number of good test images of each category; there are as many defective ones.

    Returns:
        `root`.
    """
    for number, name in enumerate(CATEGORIES):
        make_category(root / name, seed=3000 * number, train=train, good=test, defects=test)
    return root


class Command(Protocol):
    """A command of the package that can be called repeatedly."""

    def start(self) -> subprocess.Popen[str]:
        """Start the command in a new process and return the process."""

    def wait_for_stage(self, running: subprocess.Popen[str], stage: str) -> int:
        """Wait until a worker process of a stage runs, and return its pid.

        Args:
            running: Process of the command.
            stage: Name of the stage.
        """


@dataclass(frozen=True)
class EnsembleCommand:
    """The command of a run, `reconpatch-run ensemble`.

    Attributes:
        data: Folder of the dataset, a path or a URI.
        out: Run directory, a path or a URI.
        options: Additional options.
    """

    data: str
    out: str
    options: tuple[str, ...] = ()

    def start(self) -> subprocess.Popen[str]:
        """Start the command in a new process and return the process."""
        folders = ("--data", self.data, "--out", self.out)
        return start_alone("ensemble", *folders, *RECIPE, "--maps", "--no-report", *self.options)

    def wait_for_stage(self, running: subprocess.Popen[str], stage: str) -> int:
        """Wait until a worker process of a stage runs, and return its pid.

        Args:
            running: Process of the command.
            stage: Key of `STAGES`.
        """
        return wait_for_process(running, STAGES[stage])

    def outcome(self) -> dict[str, object]:
        """Return the results in the run directory; see `outcome_of`."""
        return outcome_of(Store.of(self.out))


def command_in_store(root: str, uri_options: str, *options: str) -> EnsembleCommand:
    """Return a command whose dataset, run directory and scratch space are in an object store.

    Args:
        root: URI of a folder in the store, without options.
        uri_options: Options of the URIs, the part after the question mark.
        *options: Additional options of the command.
    """
    data, out, scratch = (f"{root}/{name}?{uri_options}" for name in ("data", "run", "scratch"))
    return EnsembleCommand(data, out, ("--scratch", scratch, *options))


def outcome_of(out: Store) -> dict[str, object]:
    """Return the results of a run that must be the same in each run.

    Args:
        out: Run directory.

    Returns:
        File name -> content, as `content` returns it.
    """
    results: dict[str, object] = {}
    for folder in ("models", "scores", "maps"):
        for info in out.files(folder):
            results[out.name_of(info)] = content(out, out.name_of(info))
    for name in ("metrics.parquet", "index.parquet", "failures.parquet"):
        results[name] = content(out, name)
    return results


def content(store: Store, name: str) -> object:
    """Return the content of a file in a form that can be compared between runs.

    Args:
        store: Folder of the file.
        name: Name of the file in the folder.

    Returns:
        The sorted rows of a Parquet file without the columns that differ in each run; the bytes of any other file.
    """
    if not name.endswith(".parquet"):
        return store.read(name)
    rows = read_rows(store, name)
    return sorted(
        repr({column: value for column, value in row.items() if column not in _DIFFERENT_IN_EACH_RUN}) for row in rows
    )


def finished_members(folder: Path) -> dict[Path, int]:
    """Return the adapters, memory banks and member scores in a run directory, with their modification times.

    Args:
        folder: Run directory.

    Returns:
        Path -> modification time in nanoseconds.
    """
    files = (*folder.glob("models/**/*.safetensors"), *folder.glob("scores/members/**/*.parquet"))
    return {path: path.stat().st_mtime_ns for path in files}


def finish(command: Command) -> None:
    """Call a command and check that it succeeds.

    Args:
        command: Command to call.
    """
    running = command.start()
    output, errors = running.communicate(timeout=420)
    assert running.returncode == 0, output + errors


def kill_driver(running: subprocess.Popen[str], stage: str) -> None:
    """Kill the driver with SIGKILL; an argument for `interrupt_calls`.

    Args:
        running: Process of the command.
        stage: Not used.
    """
    running.kill()
    running.communicate(timeout=60)


def kill_processes(command: Command, out: Path, stages: Iterable[str]) -> None:
    """Call a command, kill a worker process in each stage, and check that the call succeeds.

    Args:
        command: Command to call once.
        out: Folder in which no partial file may be visible.
        stages: Stages in the order in which the command reaches them.
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

    No call may write an adapter, memory bank or member score again that an earlier call has finished.

    Args:
        command: Command to call.
        out: Folder in which no partial file may be visible.
        stages: Stages in the order in which the command reaches them.
        interrupt: Function of the running process and the stage that it has reached; it ends the process.
        members_in: Run directory of adapters, memory banks and member scores; None for `out`.
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
    """Read every file in a folder as soon as it is visible, and fail at the end if any was incomplete.

    Args:
        out: Folder to watch, with all its subfolders.
    """
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
                except FileNotFoundError:  # The file has been replaced or removed.
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
    for folder, below, names in os.walk(out):  # os.walk skips folders that are removed meanwhile
        if "train" in below and Path(folder).name == "_scratch":
            below.remove("train")  # files of Ray Train, which are not results
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
