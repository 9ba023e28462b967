"""Time several implementations in alternating turns, and print the results as a table."""

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
    """A measured operation.

    Attributes:
        name: Name of the benchmark.
        what: Name of the operation.
        sizes: Sizes of the inputs, such as n, D and k, and the number of threads.
    """

    name: str
    what: str
    sizes: str


@dataclass(frozen=True)
class Row:
    """A row of the table: a figure of this project, the same figure of a reference, and their ratio.

    Attributes:
        case: Measured operation.
        ours: Median of this project, in `unit`.
        other: Median of the reference, in `unit`; None without a reference.
        rival: Name of the reference; empty without one.
        ratio: How many times better this project is; with a target '≤', the cost of this project divided by that of
            the reference. None without a reference.
        target: Target of the ratio, such as '≥ 20' or '≤ 1.3'; empty without a target.
        unit: Unit of `ours` and `other`.
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
    """Return the median time of each of several functions in seconds.

    The functions run in alternating turns, so that a disturbance of the machine affects all of them equally.

    Args:
        ways: Name -> function to time.
        rounds: Number of turns.
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
        case: Measured operation.
        ours: Time of this project in seconds.
        other: Time of the reference in seconds.
        rival: Name of the reference.
        target: Target of the ratio, such as '≥ 20'; empty for none.
    """
    return Row(case, ours, other=other, rival=rival, ratio=other / ours, target=target)


def environment(threads: int) -> str:
    """Return one line with the processor, the number of threads, and the versions of Python and packages.

    Args:
        threads: Number of threads of each side.
    """
    versions = []
    for package in _PACKAGES:
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            versions.append(f"{package} not installed")
    return (
        f"{_processor()}, {os.cpu_count()} CPUs, {threads} threads for each side unless a row states otherwise; "
        f"Python {platform.python_version()}, {', '.join(versions)}"
    )


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()


def show(rows: Sequence[Row], console: Console) -> None:
    """Print a table of the rows, with a line between two benchmarks.

    Args:
        rows: Rows in the order of the table; the rows of a benchmark follow one another.
        console: Console of rich to print to.
    """
    table = Table(pad_edge=False)
    for column in ("benchmark", "operation", "sizes", "ours", "reference", "compared with", "ratio", "target", "met"):
        table.add_column(column, justify="right" if column in ("ours", "reference", "ratio", "target") else "left")
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
    """Return the value with three significant digits, or as an integer if it is at least 100."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


@dataclass(frozen=True, kw_only=True)
class TextTable:
    """A table of text cells that is printed separately.

    Attributes:
        title: Title above the table.
        header: Column headings.
        lines: Rows, with one cell for each column.
    """

    title: str
    header: Sequence[str]
    lines: Sequence[Sequence[str]]

    def show(self, console: Console) -> None:
        """Print the table.

        Args:
            console: Console of rich to print to.
        """
        table = Table(title=self.title, title_justify="left")
        for name in self.header:
            table.add_column(name, justify="right")
        for line in self.lines:
            table.add_row(*line)
        console.print(table)
