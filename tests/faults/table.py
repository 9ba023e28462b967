"""The table of faults and stages, with what became of each: python -m tests.faults.table docs/faults.md

Runs the whole suite and writes the table between the page's marks. With arguments of pytest's
(tests/faults/test_disk.py, --last-failed) those tests alone run, and what is known of the others stays.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest

_BEGIN, _END = "<!-- faults -->", "<!-- /faults -->"
_STAGES = ("index", "extract", "fit", "select", "score", "fuse", "gate", "today")
_KEPT = "faults/outcomes"  # in pytest's cache


class Recorder:
    """What became of every test that is marked with a fault: its name → fault, stages, outcome (a passed one's is what
    the mark promises, `same` where it says nothing)."""

    def __init__(self) -> None:
        self.outcomes: dict[str, tuple[str, list[str], str]] = {}

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> object:
        answer = yield
        marker = item.get_closest_marker("fault")
        report = answer.get_result()  # type: ignore[attr-defined]
        if marker is None or not (report.when == "call" or report.skipped or report.failed):
            return
        outcome = marker.kwargs.get("outcome", "same") if report.outcome == "passed" else report.outcome
        self.outcomes[item.nodeid] = (marker.args[0], list(marker.kwargs["stages"]), outcome)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Join what earlier calls have found."""
        cache = session.config.cache
        assert cache is not None
        earlier = {name: tuple(outcome) for name, outcome in cache.get(_KEPT, {}).items()}
        self.outcomes = earlier | self.outcomes
        cache.set(_KEPT, self.outcomes)


def table(outcomes: dict[str, tuple[str, list[str], str]]) -> str:
    faults: dict[str, dict[str, list[str]]] = {}
    for _, (fault, struck, outcome) in sorted(outcomes.items()):
        for stage in struck:
            faults.setdefault(fault, {}).setdefault(stage, []).append(outcome)
    lines = ["| fault | " + " | ".join(_STAGES) + " |", "|---" * (1 + len(_STAGES)) + "|"]
    for fault, stages in faults.items():
        cells = [_cell(stages.get(stage, [])) for stage in _STAGES]
        lines.append(f"| {fault} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(outcomes: list[str]) -> str:
    times = Counter(outcomes)
    return ", ".join(each if times[each] == 1 else f"{each}, {times[each]} times" for each in sorted(times))


def main(page: Path, arguments: list[str]) -> int:
    recorder = Recorder()
    code = pytest.main([*(arguments or ["tests/faults"]), "-m", "", "-q"], plugins=[recorder])
    text = page.read_text()
    before, after = text.partition(_BEGIN)[0], text.partition(_END)[2]
    page.write_text(f"{before}{_BEGIN}\n{table(recorder.outcomes)}\n{_END}{after}")
    return int(code)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
