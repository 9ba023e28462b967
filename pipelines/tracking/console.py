"""The terminal output of a run: a progress bar per stage, or one line per stage if the output is piped."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich import box
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

_PIPED_WIDTH = 10_000  # columns; tables in files and pipes are never cut or wrapped
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")  # all control characters except tab and newline


def printable(text: str) -> str:
    """Return a text that is safe to print on a terminal: control characters are escaped.

    File names can contain control characters and bytes that are not valid text.

    Args:
        text: Any text; tabs and line breaks are kept.
    """
    return _CONTROLS.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def safe_line(text: str) -> str:
    """Return a text as one line, with credentials redacted and control characters escaped.

    Args:
        text: Text of any number of lines.
    """
    return printable(redact(one_line(text)))


class ProgressBar:
    """The progress of a running stage.

    Attributes:
        done: Number of finished units of work.
    """

    def __init__(self, bars: Progress | None, task: TaskID | None) -> None:
        """Create a bar at 0.

        Args:
            bars: rich's display; None if the output is piped.
            task: Id of the bar in the display; None if the output is piped.
        """
        self._bars, self._task = bars, task
        self.done = 0.0

    def advance(self, amount: float = 1.0) -> None:
        """Add finished units of work.

        Args:
            amount: Number of units to add.
        """
        self.reach(self.done + amount)

    def reach(self, done: float) -> None:
        """Set the number of finished units of work.

        Args:
            done: Number of finished units.
        """
        self.done = done
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, completed=done)


class Console:
    """The output of a run: progress and results on standard output, warnings on standard error."""

    def __init__(self) -> None:
        width = None if sys.stdout.isatty() else _PIPED_WIDTH
        # Names of files and categories are printed unchanged, even if they look like markup ([b]) or emoji (:star:).
        self._output = RichConsole(file=sys.stdout, highlight=False, markup=False, emoji=False, width=width)
        self._errors = RichConsole(file=sys.stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)
        self._shows_bar = False

    def say(self, sentence: str) -> None:
        """Write a text to standard output.

        Args:
            sentence: Text of any number of lines; control characters are escaped.
        """
        self._output.print(printable(sentence), soft_wrap=True)

    def warn(self, sentence: str) -> None:
        """Write a warning to standard error, in one line; on a terminal, above the progress bar.

        Args:
            sentence: Text of the warning; credentials are redacted and control characters are escaped.
        """
        # If both outputs are a terminal, only the console of the bar can write above it; other lines would cut it off.
        console = self._output if self._shows_bar and self._errors.is_terminal else self._errors
        console.print(f"warning: {safe_line(sentence)}", soft_wrap=True)

    @contextmanager
    def progress(self, name: str, total: int, unit: str) -> Iterator[ProgressBar]:
        """Show the progress of a stage while the block runs.

        A terminal shows a bar with the rate and the remaining time. Piped output gets one line at the end.

        Args:
            name: Name of the stage.
            total: Number of units of work.
            unit: Name of the units, in the plural ("images").

        Yields:
            The bar, which the block advances.
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
                self._shows_bar = True
                try:
                    yield ProgressBar(bars, bars.add_task(name, total=total, unit=unit))
                finally:
                    self._shows_bar = False
            return
        bar = ProgressBar(None, None)
        yield bar
        seconds = time.perf_counter() - start
        rate = _rate(bar.done / max(seconds, 1e-9))
        self.say(f"{name:<8} {bar.done:,.0f}/{total:,} {unit} in {seconds:.1f} s ({rate})")

    def table(
        self, header: Sequence[str], lines: Sequence[Sequence[str]], *, names: int = 1, optional: Sequence[str] = ()
    ) -> list[str]:
        """Write a table to standard output; control characters in cells are escaped.

        If a terminal is too narrow, optional columns are left out; then the cells of the left columns are broken into
        several lines. Figures are kept whole.

        Args:
            header: Names of the columns.
            lines: Rows of cells; a row without cells is printed as an empty line.
            names: Number of columns, from the left, that hold names; they are left-aligned, all others right-aligned.
            optional: Names of columns that may be left out, the least important first.

        Returns:
            The names of the columns that were left out.
        """
        left_out: list[str] = []
        unlimited = self._output.options.update(width=_PIPED_WIDTH)
        table = _table(header, lines, names, left_out)
        while len(left_out) < len(optional) and self._output.measure(table, options=unlimited).maximum > self.width:
            left_out.append(optional[len(left_out)])
            table = _table(header, lines, names, left_out)
        self._output.print(table)
        return left_out

    @property
    def width(self) -> int:
        """Width of the output in columns; 10,000 for files and pipes."""
        return self._output.width


def _table(header: Sequence[str], lines: Sequence[Sequence[str]], names: int, left_out: Sequence[str]) -> Table:
    """Return the table of all columns that are not left out."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    kept = [position for position, name in enumerate(header) if name not in left_out]
    for position in kept:
        is_name = position < names
        table.add_column(header[position], justify="left" if is_name else "right", no_wrap=not is_name, overflow="fold")
    for line in lines:
        if line:
            table.add_row(*(printable(line[position]) for position in kept))
        else:
            table.add_section()
    return table


class _Rate(TextColumn):
    """A column with the rate that rich measures."""

    def render(self, task: Any) -> Any:
        return Text(_rate(task.speed) if task.speed else "", style="progress.percentage")


def _rate(per_second: float) -> str:
    """Return the rate as text: in units per second, or in seconds per unit if it is below one per second."""
    if per_second >= 1 or per_second == 0:
        return f"{per_second:,.1f}/s"
    return f"{1 / per_second:,.1f} s each"
