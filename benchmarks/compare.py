"""Timing several ways of doing one thing, turn by turn, and the table that comes of it."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from rich.console import Console
from rich.table import Table

_PACKAGES = ("torch", "numpy", "ray", "timm", "faiss-cpu", "anomalib", "adamp", "pyarrow")


@dataclass(frozen=True)
class Row:
    """A line of the table: what ours takes, what the other takes, and their ratio.

    Attributes:
        name: of the benchmark.
        what: what was done.
        sizes: n, D, k, threads.
        ours, other: medians, in `unit`; `other` is None for a figure without a rival.
        rival: who the other is.
        ratio: how many times better ours is (or, with a target '≤', how many times the rival's cost).
        target: '≥ 20' or '≤ 1.3'; empty where there is none.
        unit: of ours and other.
    """

    name: str
    what: str
    sizes: str
    ours: float
    other: float | None = None
    rival: str = ""
    ratio: float | None = None
    target: str = ""
    unit: str = "s"

    @property
    def met(self) -> bool | None:
        """Whether the ratio is what it should be; None without a target."""
        if not self.target or self.ratio is None:
            return None
        sign, limit = self.target.split()
        return self.ratio >= float(limit) if sign == "≥" else self.ratio <= float(limit)


def medians(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each way. They take turns, so that what the machine does otherwise strikes all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(each) for name, each in seconds.items()}


def faster(name: str, what: str, sizes: str, ours: float, other: float, rival: str, target: str = "") -> Row:
    """A row whose ratio says how many times faster ours is."""
    return Row(name, what, sizes, ours, other, rival, other / ours, target)


def environment(threads: int) -> str:
    """What the figures were measured on."""
    found = []
    for package in _PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"{package} not installed")
    return (
        f"{_processor()}, {os.cpu_count()} CPUs, {threads} threads for either side unless a row says otherwise; "
        f"Python {platform.python_version()}, {', '.join(found)}"
    )


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()


def show(rows: Sequence[Row], console: Console) -> None:
    table = Table(pad_edge=False)
    for column in ("benchmark", "what", "sizes", "ours", "other", "who", "ratio", "target", "met"):
        table.add_column(column, justify="right" if column in ("ours", "other", "ratio", "target") else "left")
    last = None
    for row in rows:
        if last is not None and row.name != last:
            table.add_section()
        table.add_row(
            row.name if row.name != last else "",
            row.what,
            row.sizes,
            f"{_figure(row.ours)} {row.unit}",
            "" if row.other is None else f"{_figure(row.other)} {row.unit}",
            row.rival,
            "" if row.ratio is None else f"{row.ratio:.2f}",
            row.target,
            {True: "yes", False: "NO", None: ""}[row.met],
        )
        last = row.name
    console.print(table)


def _figure(value: float) -> str:
    """Three digits that count."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def show_cells(title: str, header: Sequence[str], lines: Sequence[Sequence[str]], console: Console) -> None:
    """A table of cells as they are."""
    table = Table(title=title, title_justify="left")
    for name in header:
        table.add_column(name, justify="right")
    for line in lines:
        table.add_row(*line)
    console.print(table)
