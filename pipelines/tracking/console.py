"""The terminal output of a run: one progress bar per stage, or one line per stage where output is piped."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console as RichConsole
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from pipelines.errors import one_line
from pipelines.storage.redaction import redact

_PIPED_WIDTH = 180
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")  # not tab and newline, which sentences have


def printable(text: str) -> str:
    """Return text as a terminal may get it: a file name may hold control characters, or bytes that are no text."""
    return _CONTROLS.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def safe_line(text: str) -> str:
    """Return text in one line, without credentials and control characters."""
    return printable(redact(one_line(text)))


class ProgressBar:
    """The progress of a running stage.

    Attributes:
        done: units of work that are done.
    """

    def __init__(self, bars: Progress | None, task: TaskID | None) -> None:
        """Start at 0.

        Args:
            bars: rich's display; None where output is piped.
            task: the bar's id in it.
        """
        self._bars, self._task = bars, task
        self.done = 0.0

    def advance(self, amount: float = 1.0) -> None:
        """Add units that are done."""
        self.reach(self.done + amount)

    def reach(self, done: float) -> None:
        """Set the number of units that are done."""
        self.done = done
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, completed=done)


class Console:
    """Where a run writes to: progress and results to standard output, warnings to standard error."""

    def __init__(self) -> None:
        # Piped output has no width of its own; tables must not be cut there.
        width = None if sys.stdout.isatty() else _PIPED_WIDTH
        # Names of files and categories are shown as they are: [b] in one is no markup, :star: no star.
        self._output = RichConsole(file=sys.stdout, highlight=False, markup=False, emoji=False, width=width)
        self._errors = RichConsole(file=sys.stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)

    def say(self, sentence: str) -> None:
        """Write text to standard output, in as many lines as it has."""
        self._output.print(printable(sentence), soft_wrap=True)

    def warn(self, sentence: str) -> None:
        """Write a warning to standard error, in one line, without credentials."""
        self._errors.print(f"warning: {safe_line(sentence)}")

    @contextmanager
    def progress(self, name: str, total: int, unit: str) -> Iterator[ProgressBar]:
        """Show the progress of a stage while the block runs.

        In a terminal that is a bar with rate and remaining time, elsewhere one line at the end.

        Args:
            name: of the stage.
            total: units of work.
            unit: what is counted, in the plural.
        """
        start = time.perf_counter()
        if self._output.is_terminal:
            columns = (
                TextColumn("{task.description:<8}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[unit]}"),
                _Rate(""),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
            )
            with Progress(*columns, console=self._output) as bars:
                yield ProgressBar(bars, bars.add_task(name, total=total, unit=unit))
            return
        bar = ProgressBar(None, None)
        yield bar
        seconds = time.perf_counter() - start
        rate = _rate(bar.done / max(seconds, 1e-9))
        self.say(f"{name:<8} {bar.done:,.0f}/{total:,} {unit} in {seconds:.1f} s ({rate})")

    def table(self, header: Sequence[str], lines: Sequence[Sequence[str]], *, names: int = 1) -> None:
        """Write a table to standard output; control characters in cells are escaped.

        Args:
            header: the columns' names.
            lines: rows of cells; a row without cells is a rule.
            names: number of columns, from the left, that are left-aligned and never wrapped.
        """
        table = Table(title=None, pad_edge=False)
        for position, name in enumerate(header):
            table.add_column(name, justify="left" if position < names else "right", no_wrap=position < names)
        for line in lines:
            if line:
                table.add_row(*map(printable, line))
            else:
                table.add_section()
        self._output.print(table)


class _Rate(TextColumn):
    """A column with the rate, as measured by the bar."""

    def render(self, task: Any) -> Any:
        return Text(_rate(task.speed) if task.speed else "", style="progress.percentage")


def _rate(per_second: float) -> str:
    """Return the rate in units per second, or in seconds per unit where that is the larger number."""
    if per_second >= 1 or per_second == 0:
        return f"{per_second:,.1f}/s"
    return f"{1 / per_second:,.1f} s each"
