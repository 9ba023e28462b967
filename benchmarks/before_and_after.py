"""Compare the speed of the working tree with that of an earlier commit, to detect commands that became slower.

Both are built as wheels and installed into separate environments that share the dependencies of the running interpreter
(`benchmarks.environments`). The commands run one after the other, each in a new process with a new Ray session.
"""

from __future__ import annotations

import io
import statistics
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.compare import TextTable
from benchmarks.environments import (
    BUILD_FILES,
    Environment,
    build_wheel,
    copy_build_files,
    create_environment,
    install,
)
from benchmarks.inputs import folder_of
from benchmarks.processes import one_network, run, shard_times
from pipelines.errors import UsageError

COMMIT = "763b951"
SIDES = ("before", "after")
TURNS = 5
AIM = 0.95  # lowest acceptable ratio of the medians, before / after
HEADER = ("operation", "before, s", "after, s", "before / after", "met", "turns")
_ROOT = Path(__file__).parent.parent
_TRAIN_IMAGES, _TEST_IMAGES = 12, 4  # of each category of the small run
_IMPORT = (
    "import importlib, pipelines.cli; "  # a module in the earlier commit, a package now
    "hasattr(pipelines.cli, '__path__') and importlib.import_module('pipelines.cli.main')"
)


@dataclass(frozen=True)
class Comparison:
    """Medians of the time of one operation.

    Attributes:
        what: Name of the operation.
        before: Median time of the earlier commit in seconds.
        after: Median time of the working tree in seconds.
        turns: Number of measurements of each side.
    """

    what: str
    before: float
    after: float
    turns: int

    @property
    def ratio(self) -> float:
        """How many times faster the working tree is."""
        return self.before / self.after

    @property
    def met(self) -> bool:
        """Whether the ratio reaches the aim."""
        return self.ratio >= AIM

    def cells(self) -> tuple[str, ...]:
        """Return the row of the table, with the columns of `HEADER`."""
        figures = f"{self.before:.2f}", f"{self.after:.2f}", f"{self.ratio:.2f}"
        return self.what, *figures, "yes" if self.met else "NO", str(self.turns)


# A function of an environment and an empty folder that returns name of an operation -> seconds.
Measurement = Callable[[Environment, Path], Mapping[str, float]]


def start_up(environment: Environment, folder: Path) -> dict[str, float]:
    """Return the time of commands that do no work, and of importing the command line.

    Args:
        environment: Environment in which the wheel is installed.
        folder: Working directory of the processes, outside this repository.

    Returns:
        Name of the operation -> seconds.
    """
    commands: dict[str, list[str | Path]] = {
        "reconpatch-run --version": [environment.command, "--version"],
        "reconpatch-run -h": [environment.command, "-h"],
        "import of the command line": [environment.python, "-c", _IMPORT],
    }
    return {
        what: run(command, folder=folder, environ=environment.environ).seconds for what, command in commands.items()
    }


def small_job(environment: Environment, folder: Path) -> dict[str, float]:
    """Return the time to the first features and to the end of a run on two categories of 16 images.

    Args:
        environment: Environment in which the wheel is installed.
        folder: Empty folder for the dataset and the run directory, outside this repository.

    Returns:
        Name of the operation -> seconds.
    """
    data, out = folder_of(folder / "data", 2, _TRAIN_IMAGES, test=_TEST_IMAGES), folder / "run"
    arguments = one_network(data, out, "--holdout", "0", "--keep-features")
    finished = run([environment.command, *arguments], folder=folder, environ=environment.environ)
    return {
        "small run, to the first features": shard_times(out / "_scratch")[0] - finished.started,
        "small run, to the end": finished.seconds,
    }


# To add rows to the table, add a function here. Each key that it returns is a row.
MEASUREMENTS: tuple[Measurement, ...] = (start_up, small_job)


def tables(turns: int) -> Iterator[TextTable]:
    """Yield the table of all comparisons; see `compare`.

    Args:
        turns: Number of measurements of each side.
    """
    title = f"Commit {COMMIT} (before) and the working tree (after); target: before / after at least {AIM}"
    yield TextTable(title=title, header=HEADER, lines=[comparison.cells() for comparison in compare(turns)])


def compare(turns: int) -> list[Comparison]:
    """Build and install the earlier commit and the working tree, and measure both.

    Args:
        turns: Number of measurements of each side.

    Raises:
        UsageError: The earlier commit is not in the history of this clone.
        InstallError: The earlier commit or the working tree cannot be built or installed.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        environments = installed_versions(root)

        def measure(side: str) -> dict[str, float]:
            seconds: dict[str, float] = {}
            for measurement in MEASUREMENTS:
                with tempfile.TemporaryDirectory(dir=root) as empty:
                    seconds |= measurement(environments[side], Path(empty))
            return seconds

        return medians_of(take_turns(measure, turns))


def take_turns(measure: Callable[[str], Mapping[str, float]], turns: int) -> list[dict[str, Mapping[str, float]]]:
    """Measure both sides in alternating turns, so that a disturbance of the machine affects both equally.

    Args:
        measure: Function of "before" or "after" that returns name of an operation -> seconds.
        turns: Number of measurements of each side.

    Returns:
        For each turn: "before" or "after" -> return value of `measure`.
    """
    return [{side: measure(side) for side in SIDES} for _ in range(turns)]


def medians_of(turns: Sequence[Mapping[str, Mapping[str, float]]]) -> list[Comparison]:
    """Return the medians of all measurements, in the order of the operations.

    Args:
        turns: Return value of `take_turns`.
    """
    medians = {
        side: {what: statistics.median(turn[side][what] for turn in turns) for what in turns[0][side]} for side in SIDES
    }
    return [
        Comparison(what, seconds, medians["after"][what], len(turns)) for what, seconds in medians["before"].items()
    ]


def extract_commit(commit: str, target: Path) -> Path:
    """Write the files that a build needs from a commit of this repository into a new folder.

    Args:
        commit: Hash of the commit.
        target: New folder for the files.

    Returns:
        `target`.

    Raises:
        UsageError: The commit is not in the history of this clone.
    """
    archive = subprocess.run(["git", "-C", str(_ROOT), "archive", commit, *BUILD_FILES], capture_output=True)
    if archive.returncode:
        error = archive.stderr.decode(errors="replace").strip()
        raise UsageError(f"Commit {commit} cannot be read ({error}). Clone the repository with its full history.")
    target.mkdir(parents=True)
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(target, filter="data")
    return target


def installed_versions(root: Path) -> dict[str, Environment]:
    """Build the earlier commit and the working tree, and install each into its own environment.

    Args:
        root: Existing folder for the sources, wheels and environments.

    Returns:
        "before" or "after" -> environment.

    Raises:
        UsageError: The earlier commit is not in the history of this clone.
        InstallError: The earlier commit or the working tree cannot be built or installed.
    """
    sources = {
        "before": extract_commit(COMMIT, root / "before" / "source"),
        "after": copy_build_files(_ROOT, root / "after" / "source"),
    }
    return {side: _installed(source, root / side) for side, source in sources.items()}


def _installed(source: Path, folder: Path) -> Environment:
    environment = create_environment(folder / "environment")
    install(build_wheel(source, folder / "wheel"), environment, folder)
    return environment
