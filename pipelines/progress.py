"""What a person sees while a run goes on: a bar a stage in a terminal, a line a stage elsewhere."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
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

from pipelines.secrets import masked

_PIPED_WIDTH = 180
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")  # not tab and newline, which sentences have


def printable(text: str) -> str:
    """Text as a terminal may have it: a file's name may hold control characters, or bytes that are no text."""
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def in_one_line(error: object) -> str:
    """A sentence about what is wrong, without line breaks and credentials."""
    return printable(masked(re.sub(r"\s*\n\s*", " ", str(error).strip())))


class Stage:
    """A stage that is going on: tell it how much is done."""

    def __init__(self, bars: Progress | None, task: TaskID | None) -> None:
        self._bars, self._task = bars, task
        self.done = 0.0

    def advance(self, amount: float = 1.0) -> None:
        """So much more is done."""
        self.reach(self.done + amount)

    def reach(self, done: float) -> None:
        """So much is done in all."""
        self.done = done
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, completed=done)


class Screen:
    """Where a run speaks: progress and results on standard output, warnings on standard error."""

    def __init__(self) -> None:
        # Piped output has no width of its own: the table is never cut there.
        width = None if sys.stdout.isatty() else _PIPED_WIDTH
        # What is shown are others' names: no [b] in them is markup, no :star: a star.
        self.console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False, width=width)
        self._errors = Console(file=sys.stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)

    def say(self, sentence: str) -> None:
        """On standard output, in as many lines as it has."""
        self.console.print(printable(sentence), soft_wrap=True)

    def warn(self, sentence: str) -> None:
        """On standard error, in one line, without credentials."""
        self._errors.print(f"warning: {in_one_line(sentence)}")

    @contextmanager
    def stage(self, name: str, total: int, unit: str) -> Iterator[Stage]:
        """A stage of `total` units of work: a bar with rate and time left, or one line when it is over."""
        start = time.perf_counter()
        if self.console.is_terminal:
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
            with Progress(*columns, console=self.console) as bars:
                yield Stage(bars, bars.add_task(name, total=total, unit=unit))
            return
        stage = Stage(None, None)
        yield stage
        seconds = time.perf_counter() - start
        rate = _rate(stage.done / max(seconds, 1e-9))
        self.say(f"{name:<8} {stage.done:,.0f}/{total:,} {unit} in {seconds:.1f} s ({rate})")

    def table(self, header: Sequence[str], lines: Sequence[Sequence[str]], *, names: int = 1) -> None:
        """Cells as they are, but for control characters.

        Args:
            lines: of the table; one without cells is a rule.
            names: so many columns are to the left and in one line, the others to the right.
        """
        table = Table(title=None, pad_edge=False)
        for position, name in enumerate(header):
            table.add_column(name, justify="left" if position < names else "right", no_wrap=position < names)
        for line in lines:
            if line:
                table.add_row(*map(printable, line))
            else:
                table.add_section()
        self.console.print(table)


class _Rate(TextColumn):
    """Units a second, as measured by the bar."""

    def render(self, task: Any) -> Any:
        return Text(_rate(task.speed) if task.speed else "", style="progress.percentage")


def _rate(per_second: float) -> str:
    """Units a second, or seconds a unit where that is the larger number."""
    if per_second >= 1 or per_second == 0:
        return f"{per_second:,.1f}/s"
    return f"{1 / per_second:,.1f} s each"
