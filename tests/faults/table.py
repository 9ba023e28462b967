"""Write the table of faults, stages and outcomes: python -m tests.faults.table docs/faults.md

It runs all fault tests and writes the table between the marks of the page. With additional arguments of pytest, such as
`tests/faults/test_disk.py` or `--last-failed`, only the selected tests run, and the outcomes of the others remain.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest

_BEGIN, _END = "<!-- faults -->", "<!-- /faults -->"
_STAGES = ("index", "extract", "fit", "select", "score", "fuse", "acceptance", "today")
_KEPT = "faults/outcomes"  # in pytest's cache


class Recorder:
    """Plugin of pytest that records the outcome of every test with the mark `fault`.

    Attributes:
        outcomes: Test -> (fault, stages, outcome). The outcome of a passed test is the one that its mark states.
    """

    def __init__(self) -> None:
        self.outcomes: dict[str, tuple[str, list[str], str]] = {}

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> object:
        """Record the outcome of a test; a hook of pytest.

        Args:
            item: Test.
            call: Phase of the test that has ended.
        """
        answer = yield
        marker = item.get_closest_marker("fault")
        report = answer.get_result()  # type: ignore[attr-defined]
        if marker is None or not (report.when == "call" or report.skipped or report.failed):
            return
        outcome = marker.kwargs.get("outcome", "same") if report.outcome == "passed" else report.outcome
        self.outcomes[item.nodeid] = (marker.args[0], list(marker.kwargs["stages"]), outcome)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Add the outcomes of earlier sessions from pytest's cache, and store all outcomes; a hook of pytest.

        Args:
            session: Session that ends.
        """
        cache = session.config.cache
        assert cache is not None
        earlier = {name: tuple(outcome) for name, outcome in cache.get(_KEPT, {}).items()}
        self.outcomes = earlier | self.outcomes
        cache.set(_KEPT, self.outcomes)


def table(outcomes: dict[str, tuple[str, list[str], str]]) -> str:
    """Return the table in Markdown, with a row for each fault and a column for each stage.

    Args:
        outcomes: Test -> (fault, stages, outcome), as in `Recorder`.
    """
    faults: dict[str, dict[str, list[str]]] = {}
    for _, (fault, hit_stages, outcome) in sorted(outcomes.items()):
        for stage in hit_stages:
            faults.setdefault(fault, {}).setdefault(stage, []).append(outcome)
    lines = ["| Fault | " + " | ".join(_STAGES) + " |", "|---" * (1 + len(_STAGES)) + "|"]
    for fault, stages in faults.items():
        cells = [_cell(stages.get(stage, [])) for stage in _STAGES]
        lines.append(f"| {fault} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(outcomes: list[str]) -> str:
    times = Counter(outcomes)
    return ", ".join(
        outcome if times[outcome] == 1 else f"{outcome} ({times[outcome]} tests)" for outcome in sorted(times)
    )


def main(page: Path, arguments: list[str]) -> int:
    """Run fault tests and write the table into the page.

    Args:
        page: Markdown file with the marks of the table.
        arguments: Arguments of pytest that select tests; empty for all fault tests.

    Returns:
        Exit code of pytest.
    """
    recorder = Recorder()
    code = pytest.main([*(arguments or ["tests/faults"]), "-m", "", "-q"], plugins=[recorder])
    text = page.read_text()
    before, after = text.partition(_BEGIN)[0], text.partition(_END)[2]
    page.write_text(f"{before}{_BEGIN}\n\n{table(recorder.outcomes)}\n\n{_END}{after}")
    return int(code)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
