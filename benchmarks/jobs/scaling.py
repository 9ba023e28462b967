"""Measure how the time of the coreset grows with n and k, and that of runs with images, categories and workers."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.compare import Case, Row, faster
from benchmarks.inputs import folder_of, real_features
from benchmarks.method.peers import anomalib_greedy
from benchmarks.processes import reconpatch
from reconpatch.neighbors.coreset import farthest_first

_RATIO = 0.01
_SIZES = (25_000, 50_000, 100_000, 200_000, 400_000, 800_000, 1_600_000)
_ANOMALIB = _SIZES[:3]  # larger sizes take longer than all other measurements together
_PICKS = (250, 500, 1_000, 2_000, 4_000, 8_000)
_AT = 200_000  # number of patches n while k varies
_GOOD = (100, 200, 400, 800)
_CATEGORIES = (1, 2, 4, 8)


@dataclass(frozen=True)
class Curve:
    """Wall time as a function of a size.

    Attributes:
        title: Title of the panel of the plot.
        size: Name of the size, which is the label of the x axis.
        who: Name of the measured implementation.
        sizes: Values on the x axis.
        seconds: Wall time in seconds at each size.
    """

    title: str
    size: str
    who: str
    sizes: tuple[int, ...]
    seconds: tuple[float, ...]

    @property
    def exponent(self) -> float:
        """Exponent e of seconds ∝ size^e, fitted by least squares to the logarithms of the larger half of points."""
        half = len(self.sizes) // 2
        return float(np.polyfit(np.log(self.sizes[half:]), np.log(self.seconds[half:]), 1)[0])


def curves(threads: int) -> Iterator[Curve]:
    """Yield the curves of the coreset, then those of complete runs.

    Args:
        threads: Number of torch threads, for the titles; the caller sets it in torch.
    """
    features = real_features(max(_SIZES))
    seconds = [_timed(partial(farthest_first, features[:n], _RATIO)) for n in _SIZES]
    title = f"coreset, 1 % of n, D {features.shape[1]}, {threads} threads"
    yield Curve(title, "patches n", "ours", _SIZES, tuple(seconds))
    rows = {n: torch.from_numpy(np.array(features[:n], np.float32)) for n in _ANOMALIB}
    anomalib_greedy(rows[_ANOMALIB[0]][:1_000], _RATIO)  # imports anomalib, so that the import is not timed
    rival_seconds = [_timed(partial(anomalib_greedy, rows[n], _RATIO)) for n in _ANOMALIB]
    yield Curve(title, "patches n", "anomalib KCenterGreedy", _ANOMALIB, tuple(rival_seconds))
    seconds = [_timed(partial(farthest_first, features[:_AT], k / _AT)) for k in _PICKS]
    title = f"coreset, n {_AT:,}, D {features.shape[1]}, {threads} threads"
    yield Curve(title, "entries k", "ours", _PICKS, tuple(seconds))
    yield _job("complete run, one category", "training images", _GOOD, lambda good: (1, good))
    yield _job("complete run, 60 training images per category", "categories", _CATEGORIES, lambda count: (count, 60))
    yield _workers()


def run(threads: int, plot_path: Path | None) -> Iterator[Row]:
    """Yield the last point and the exponent of each curve.

    Args:
        threads: Number of torch threads of the coreset.
        plot_path: File for the plot of the curves; None draws no plot.
    """
    measured = list(curves(threads))
    if plot_path is not None:
        plot(measured, plot_path)
    for curve in measured:
        sizes = f"{curve.size} {curve.sizes[0]:,} to {curve.sizes[-1]:,}"
        yield Row(Case("scaling", f"{curve.title}: {curve.who}", sizes), curve.seconds[-1])
        if len(curve.sizes) > 2:
            yield Row(Case("scaling", "   exponent of the larger half", sizes), curve.exponent, unit="")
        else:
            case = Case("scaling", "   2 workers compared with 1", sizes)
            yield faster(case, curve.seconds[-1], curve.seconds[0], rival="1 worker")


def plot(measured: Sequence[Curve], path: Path) -> None:
    """Draw one panel for each title: the coreset in the upper row, complete runs in the lower one.

    Args:
        measured: Curves in the order of the panels; curves with the same title share a panel.
        path: Image file to write; its suffix sets the format.
    """
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator

    titles = list(dict.fromkeys(curve.title for curve in measured))
    figure, panels = plt.subplot_mosaic("AAABBB;CCDDEE", figsize=(12, 7.5), layout="constrained")
    for panel, title in zip(panels.values(), titles, strict=True):
        for curve in (curve for curve in measured if curve.title == title):
            label = curve.who if len(curve.sizes) < 3 else f"{curve.who}, exponent {curve.exponent:.2f}"
            panel.plot(curve.sizes, curve.seconds, "o-", label=label)
            panel.set_xlabel(curve.size)
        if title.startswith("coreset"):
            panel.set_xscale("log")
            panel.set_yscale("log")
            panel.minorticks_off()
            panel.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            panel.yaxis.set_major_formatter("{x:g}")
        else:
            panel.set_ylim(bottom=0)
        sizes = next(curve.sizes for curve in measured if curve.title == title)
        panel.set_xticks(sizes, [f"{size:,}" for size in sizes])
        panel.set_title(title, fontsize=10)
        panel.set_ylabel("seconds")
        panel.grid(alpha=0.3)
        panel.legend(fontsize=9)
    figure.savefig(path, dpi=100)


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _job(title: str, size: str, counts: tuple[int, ...], shape: Callable[[int], tuple[int, int]]) -> Curve:
    seconds = []
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            data = folder_of(Path(folder) / "data", *shape(count))
            seconds.append(reconpatch(data, Path(folder) / "run").seconds)
    return Curve(title, size, "ours", counts, tuple(seconds))


def _workers() -> Curve:
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        data = folder_of(Path(folder) / "data", 4, 300)
        for workers in (1, 2):
            out = Path(folder) / f"run-{workers}"
            seconds.append(reconpatch(data, out, "--workers", str(workers), cpus=workers).seconds)
    return Curve("complete run, 4 categories of 300 images", "workers, one CPU each", "ours", (1, 2), tuple(seconds))
