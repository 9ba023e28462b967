"""Time several ways of doing one thing, turn by turn, and print the table of the results."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from importlib.metadata import PackageNotFoundError, version

from rich.console import Console
from rich.table import Table

_PACKAGES = ("torch", "numpy", "ray", "timm", "faiss-cpu", "anomalib", "adamp", "pyarrow")


@dataclass(frozen=True)
class Case:
    """What is measured.

    Attributes:
        name: name of the benchmark.
        what: what is done.
        sizes: its sizes, such as n, D, k, and the number of threads.
    """

    name: str
    what: str
    sizes: str


@dataclass(frozen=True)
class Row:
    """A line of the table: a figure of this project, the same of another implementation, and their ratio.

    Attributes:
        case: what was measured.
        ours: median of this project, in `unit`.
        other: median of the other implementation, in `unit`; None where there is none.
        rival: name of the other implementation.
        ratio: how many times better this project is or, with a target '≤', how many times the other's cost it takes.
        target: '≥ 20' or '≤ 1.3'; empty where there is none.
        unit: unit of `ours` and `other`.
    """

    case: Case
    ours: float
    _: KW_ONLY
    other: float | None = None
    rival: str = ""
    ratio: float | None = None
    target: str = ""
    unit: str = "s"

    @property
    def met(self) -> bool | None:
        """Whether the ratio meets its target; None without a target."""
        if not self.target or self.ratio is None:
            return None
        sign, limit = self.target.split()
        return self.ratio >= float(limit) if sign == "≥" else self.ratio <= float(limit)


def medians(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the median seconds of each way of doing one thing.

    The ways take turns, so that a disturbance of the machine affects all of them alike.

    Args:
        ways: name -> function to time.
        rounds: number of turns.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(turns) for name, turns in seconds.items()}


def faster(case: Case, ours: float, other: float, *, rival: str, target: str = "") -> Row:
    """Return a row whose ratio is how many times faster this project is.

    Args:
        case: what was measured.
        ours: seconds of this project.
        other: seconds of the other implementation.
        rival: name of the other implementation.
        target: target of the ratio, such as '≥ 20'; empty for none.
    """
    return Row(case, ours, other=other, rival=rival, ratio=other / ours, target=target)


def environment(threads: int) -> str:
    """Return one line on what the figures are measured on: processor, threads and versions."""
    versions = []
    for package in _PACKAGES:
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            versions.append(f"{package} not installed")
    return (
        f"{_processor()}, {os.cpu_count()} CPUs, {threads} threads for either side unless a row says otherwise; "
        f"Python {platform.python_version()}, {', '.join(versions)}"
    )


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()


def show(rows: Sequence[Row], console: Console) -> None:
    """Print the table of the rows, with a line between two benchmarks."""
    table = Table(pad_edge=False)
    for column in ("benchmark", "what", "sizes", "ours", "other", "who", "ratio", "target", "met"):
        table.add_column(column, justify="right" if column in ("ours", "other", "ratio", "target") else "left")
    previous = None
    for row in rows:
        if previous is not None and row.case.name != previous:
            table.add_section()
        table.add_row(
            row.case.name if row.case.name != previous else "",
            row.case.what,
            row.case.sizes,
            f"{_three_digits(row.ours)} {row.unit}",
            "" if row.other is None else f"{_three_digits(row.other)} {row.unit}",
            row.rival,
            "" if row.ratio is None else f"{row.ratio:.2f}",
            row.target,
            {True: "yes", False: "NO", None: ""}[row.met],
        )
        previous = row.case.name
    console.print(table)


def _three_digits(value: float) -> str:
    """Return the value with three significant digits, or as a whole number from 100 on."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


@dataclass(frozen=True, kw_only=True)
class TextTable:
    """A table of its own: a title, column headings and lines of cells."""

    title: str
    header: Sequence[str]
    lines: Sequence[Sequence[str]]

    def show(self, console: Console) -> None:
        """Print the table; its cells are printed as they are."""
        table = Table(title=self.title, title_justify="left")
        for name in self.header:
            table.add_column(name, justify="right")
        for line in self.lines:
            table.add_row(*line)
        console.print(table)
