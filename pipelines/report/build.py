"""The whole report: one Ray task a category, then the overview. A page whose inputs are unchanged is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from pipelines.config.run_config import RunConfig, stored_config
from pipelines.errors import UsageError, error_line
from pipelines.planning.cache_keys import key_of
from pipelines.registry.attention import Urgency, urgency_of
from pipelines.registry.night_table import CategoryNight
from pipelines.report.category import PageRequest, page_name, write_category
from pipelines.report.pages import render_page
from pipelines.report.render import MEDIA
from pipelines.report.subject import ReportSource
from pipelines.report.summary import CategorySummary
from pipelines.runtime.session import ray_session
from pipelines.runtime.tasks import TaskPool, run_tasks
from pipelines.stages.runner import Runner
from pipelines.storage.parquet import rows_if_there
from pipelines.storage.paths import FAILURES_FILE, REPORT
from pipelines.storage.schemas import FailureRow
from pipelines.storage.store import Store, side_by_side
from pipelines.tracking.console import Console

_PAGES = "pages.json"
_LOOK = 3  # raised when the same inputs give another page


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """Options of `reconpatch-run report`.

    Attributes:
        run_folder: path or URI of a run, of a nightly run's scores, or of the scores of `score`.
        data: where the scored images are now; None for where they were.
        beside: another run of the same images, shown for comparison; None without one.
        figures: formats of the figures that are drawn, of `FIGURE_FORMATS`.
        workers, threads_per_unit, gpus_per_actor, address: of the Ray session, as in `RunConfig`.
    """

    run_folder: str
    data: str | None = None
    beside: str | None = None
    figures: tuple[str, ...] = ()
    workers: int | None = RunConfig.workers
    threads_per_unit: int = RunConfig.threads_per_unit
    gpus_per_actor: float = RunConfig.gpus_per_actor
    address: str | None = RunConfig.address


@dataclass(frozen=True, kw_only=True)
class OverviewRow:
    """A row of the overview's table.

    Attributes:
        summary: of the category's scores.
        state: what needs attention, else what was done.
        urgency: rank of what needs attention, 0 for the most urgent.
    """

    summary: CategorySummary
    state: str
    urgency: int


def report(options: ReportOptions, console: Console) -> int:
    """Write the report of a run, a nightly run or new scores; pages whose inputs are unchanged are kept.

    Args:
        options: of the command line.
        console: for progress, warnings and the report's address.

    Returns:
        The exit code: 1 where a category has no page.

    Raises:
        UsageError: the folder holds neither a run nor scores, or figures are requested without matplotlib.
    """
    if options.figures and find_spec("matplotlib") is None:
        raise UsageError("--figures needs matplotlib: pip install 'reconpatch-ray[figures]'.")
    source = ReportSource.of(options.run_folder, options.data)
    beside = None if options.beside is None else ReportSource.of(options.beside, options.data)
    names = ("workers", "threads_per_unit", "gpus_per_actor", "address")
    config = stored_config(source.run_info.config, **{name: getattr(options, name) for name in names})
    with ray_session(config) as workers:
        return _write_and_print(_Report(source, console, workers, beside=beside, figures=options.figures))


def report_at_the_end(source: ReportSource, runner: Runner, before: Store | None = None) -> None:
    """Write the report of a run that has just ended; a failure is a warning, since the scores are complete.

    Args:
        source: the run.
        runner: of the run; the report uses its console and as many tasks at once.
        before: an earlier report, whose pictures are copied where they are unchanged.
    """
    try:
        _write_and_print(_Report(source, runner.console, runner.cpu_workers, before=before))
    except Exception as error:
        runner.console.warn(f"there is no report: {error_line(error)}")


@dataclass(frozen=True)
class _Report:
    """A report that is written into the folder `report` of its source.

    Attributes:
        source: what the report is about.
        console: for progress and warnings.
        workers: how many categories are rendered at once.
        beside: another run of the same images, shown for comparison; None without one.
        before: an earlier report, whose pictures are copied where they are unchanged; None without one.
        figures: formats of the figures that are drawn.
    """

    source: ReportSource
    console: Console
    workers: int
    beside: ReportSource | None = None
    before: Store | None = None
    figures: tuple[str, ...] = ()

    @property
    def folder(self) -> Store:
        """Folder that the report is written into."""
        return self.source.out.below(REPORT)


def _write_and_print(made: _Report) -> int:
    """Write a report in a Ray session that has been started, and print its address; returns the exit code."""
    failures = _write(made)
    for sentence in failures:
        made.console.warn(sentence)
    made.console.say(f"report   {made.folder.below('index.html').uri}")
    return 1 if failures else 0


def _write(made: _Report) -> list[str]:
    """Write a report; returns one sentence a category whose page could not be made."""
    source, folder = made.source, made.folder
    categories, night = source.categories(), source.night()
    keys = dict(zip(categories, side_by_side(lambda name: _key(source, name, night), categories), strict=True))
    summaries = {} if made.beside is not None or made.figures else _reusable(folder, keys)
    due = [name for name in categories if name not in summaries]
    failures = []
    if due:
        requests = _requests(made, categories, night)
        pool = TaskPool(name="report", at_once=made.workers, options={"num_cpus": 1})
        with made.console.progress("report", len(due), "categories") as progress:
            for category, answer in run_tasks(write_category, due, lambda name: (requests[name], folder), pool):
                progress.advance()
                if isinstance(answer, Exception):
                    failures.append(f"{category}: no page in the report: {error_line(answer)}")
                else:
                    summaries[category] = answer
    stored = [name for name in categories if name in summaries]
    folder.write_json(_PAGES, {name: {"key": keys[name], "summary": summaries[name].as_json()} for name in stored})
    folder.write("index.html", _overview(source, summaries, night).encode())
    return failures


def _requests(made: _Report, categories: Sequence[str], night: Mapping[str, CategoryNight]) -> dict[str, PageRequest]:
    """Return category → what its page is made of."""
    index, metrics = made.source.index(), made.source.metrics()
    shared = set() if made.beside is None else set(made.beside.categories())
    before = None if made.before is None else made.before.below(MEDIA)
    around = [None, *categories, None]
    return {
        category: PageRequest(
            source=made.source,
            category=category,
            index=index.get(category, {}),
            metrics=metrics.get(category, []),
            night=night.get(category),
            neighbors=(around[position], around[position + 2]),
            beside=made.beside if category in shared else None,
            before=before,
            figures=made.figures,
        )
        for position, category in enumerate(categories)
    }


def _reusable(folder: Store, keys: Mapping[str, str]) -> dict[str, CategorySummary]:
    """Return category → summary of the pages whose inputs are unchanged.

    Args:
        folder: of the report.
        keys: category → cache key of its page now.
    """
    return {
        name: summary
        for name, (key, summary) in _stored_pages(folder).items()
        if keys.get(name) == key and folder.exists(page_name(name))
    }


def _stored_pages(folder: Store) -> dict[str, tuple[str, CategorySummary]]:
    """Return category → (cache key, summary) of the pages that exist; empty where that file is damaged."""
    try:
        stored = (folder.read_json(_PAGES) or {}).items()
        return {name: (page["key"], CategorySummary.of_json(page["summary"])) for name, page in stored}
    except (ValueError, TypeError, LookupError, AttributeError):
        return {}


def _key(source: ReportSource, category: str, night: Mapping[str, CategoryNight]) -> str:
    columns = night[category].row() if category in night else {}
    return key_of([source.key(category), sorted((name, str(value)) for name, value in columns.items()), _LOOK])


def _overview(
    source: ReportSource, summaries: Mapping[str, CategorySummary], night: Mapping[str, CategoryNight]
) -> str:
    run_info = source.run_info
    failed: dict[str, str] = run_info.failed
    rows = []
    for name in sorted({*summaries, *failed, *night}):
        urgency = Urgency.FAILED if name in failed else _urgency(night.get(name))
        summary = summaries.get(name, CategorySummary(category=name))
        rows.append(OverviewRow(summary=summary, state=urgency or _done(night.get(name)), urgency=urgency.rank))
    if night:
        rows.sort(key=lambda row: (row.urgency, row.summary.category))
    failures = [FailureRow.from_row(row) for row in rows_if_there(source.out, FAILURES_FILE)]
    return render_page(
        "index.html",
        root=".",
        title={"nightly": "Last night", "score": "New images"}.get(source.command, "Run"),
        run_info=run_info,
        members=[member["backbone"] for member in run_info.config["members"]],
        rows=rows,
        failed=failed,
        unreadable=[failure for failure in failures if failure.image_path is not None],
        labeled=any(row.summary.defective for row in rows),
        night=bool(night),
    )


def _urgency(night: CategoryNight | None) -> Urgency:
    """Return why somebody has to look at a category; other reports than a nightly run's name only failures."""
    if night is None:
        return Urgency.NONE
    return urgency_of(night, status=night.learned, ks_p_value=night.ks_p_value)


def _done(night: CategoryNight | None) -> str:
    return "scored" if night is None else str(night.learned)
