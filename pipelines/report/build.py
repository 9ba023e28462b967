"""The report: one Ray task writes the page of each category, then the overview is written.

A page whose inputs are unchanged is not written again.
"""

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
_LOOK = 4  # part of the cache key of a page; increase it when the same inputs result in a different page


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """The options of `reconpatch-run report`.

    Attributes:
        run_folder: Path or URI of a run directory, or of the scores of `nightly` or `score`.
        data: Path or URI of the root of the scored images; None uses the root that is stored with the scores.
        beside: Path or URI of another run of the same images, shown for comparison; None for no comparison.
        figures: File formats of additional figures, from `FIGURE_FORMATS`; empty for no figures.
        workers, threads_per_unit, gpus_per_actor, address: Ray settings, as in `RunConfig`.
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
    """A row in the table of the overview.

    Attributes:
        summary: Summary of the category's scores.
        state: Reason why the category needs attention, or else what was done with it.
        urgency: Rank of that reason; 0 is the most urgent.
    """

    summary: CategorySummary
    state: str
    urgency: int


def report(options: ReportOptions, console: Console) -> int:
    """Write the report of a run, a nightly run or new scores. Pages whose inputs are unchanged are kept.

    Args:
        options: Options of the command line.
        console: Console for progress, warnings and the path of the report.

    Returns:
        The exit code: 0, or 1 if the page of a category could not be written.

    Raises:
        UsageError: The folder holds neither a run nor scores, or figures are requested and matplotlib is missing.
    """
    if options.figures and find_spec("matplotlib") is None:
        raise UsageError("--figures requires matplotlib. Install: pip install 'reconpatch-ray[figures]'.")
    source = ReportSource.of(options.run_folder, options.data)
    beside = None if options.beside is None else ReportSource.of(options.beside, options.data)
    names = ("workers", "threads_per_unit", "gpus_per_actor", "address")
    config = stored_config(source.run_info.config, **{name: getattr(options, name) for name in names})
    with ray_session(config) as workers:
        return _write_and_print(_Report(source, console, workers, beside=beside, figures=options.figures))


def report_at_the_end(source: ReportSource, runner: Runner, before: Store | None = None) -> None:
    """Write the report of a run that has just ended. A failure is only a warning, because the scores are complete.

    Args:
        source: Scores, images and models of the run.
        runner: Runner of the run; the report uses its console and its number of CPU workers.
        before: Folder of an earlier report, from which unchanged image files are copied; None for no earlier report.
    """
    try:
        _write_and_print(_Report(source, runner.console, runner.cpu_workers, before=before))
    except Exception as error:
        runner.console.warn(f"The report could not be written: {error_line(error)}")


@dataclass(frozen=True)
class _Report:
    """A report that is written into the folder `report` of its source.

    Attributes:
        source: Scores, images and models that the report shows.
        console: Console for progress and warnings.
        workers: Number of categories that are rendered at the same time.
        beside: Another run of the same images, shown for comparison; None for no comparison.
        before: Folder of an earlier report, from which unchanged image files are copied; None for no earlier report.
        figures: File formats of additional figures; empty for no figures.
    """

    source: ReportSource
    console: Console
    workers: int
    beside: ReportSource | None = None
    before: Store | None = None
    figures: tuple[str, ...] = ()

    @property
    def folder(self) -> Store:
        """Folder of the report."""
        return self.source.out.below(REPORT)


def _write_and_print(job: _Report) -> int:
    """Write a report in the current Ray session and print its path; return the exit code."""
    failures = _write(job)
    for sentence in failures:
        job.console.warn(sentence)
    job.console.say(f"report   {job.folder.below('index.html').uri}")
    return 1 if failures else 0


def _write(job: _Report) -> list[str]:
    """Write a report; return one message for each category whose page could not be written."""
    source, folder = job.source, job.folder
    categories, night = source.categories(), source.night()
    keys = dict(zip(categories, side_by_side(lambda name: _key(source, name, night), categories), strict=True))
    summaries = {} if job.beside is not None or job.figures else _reusable(folder, keys)
    due = [name for name in categories if name not in summaries]
    failures = []
    if due:
        requests = _requests(job, categories, night)
        pool = TaskPool(name="report", at_once=job.workers, options={"num_cpus": 1})
        with job.console.progress("report", len(due), "categories") as progress:
            for category, answer in run_tasks(write_category, due, lambda name: (requests[name], folder), pool):
                progress.advance()
                if isinstance(answer, Exception):
                    failures.append(f"{category} has no page in the report: {error_line(answer)}")
                else:
                    summaries[category] = answer
    stored = [name for name in categories if name in summaries]
    folder.write_json(_PAGES, {name: {"key": keys[name], "summary": summaries[name].as_json()} for name in stored})
    folder.write("index.html", _overview(source, summaries, night).encode())
    return failures


def _requests(job: _Report, categories: Sequence[str], night: Mapping[str, CategoryNight]) -> dict[str, PageRequest]:
    """Return category → request for its page."""
    index, metrics = job.source.index(), job.source.metrics()
    shared = set() if job.beside is None else set(job.beside.categories())
    before = None if job.before is None else job.before.below(MEDIA)
    around = [None, *categories, None]
    return {
        category: PageRequest(
            source=job.source,
            category=category,
            index=index.get(category, {}),
            metrics=metrics.get(category, []),
            night=night.get(category),
            neighbors=(around[position], around[position + 2]),
            beside=job.beside if category in shared else None,
            before=before,
            figures=job.figures,
        )
        for position, category in enumerate(categories)
    }


def _reusable(folder: Store, keys: Mapping[str, str]) -> dict[str, CategorySummary]:
    """Return category → summary, for the pages whose inputs are unchanged.

    Args:
        folder: Folder of the report.
        keys: Category → current cache key of its page.
    """
    return {
        name: summary
        for name, (key, summary) in _stored_pages(folder).items()
        if keys.get(name) == key and folder.exists(page_name(name))
    }


def _stored_pages(folder: Store) -> dict[str, tuple[str, CategorySummary]]:
    """Return category → (cache key, summary) from pages.json; an empty dict if that file is missing or damaged."""
    try:
        stored = (folder.read_json(_PAGES) or {}).items()
        return {name: (page["key"], CategorySummary.of_json(page["summary"])) for name, page in stored}
    except (ValueError, TypeError, LookupError, AttributeError):
        return {}


def _key(source: ReportSource, category: str, night: Mapping[str, CategoryNight]) -> str:
    """Return the cache key of a category's page."""
    columns = night[category].row() if category in night else {}
    return key_of([source.key(category), sorted((name, str(value)) for name, value in columns.items()), _LOOK])


def _overview(
    source: ReportSource, summaries: Mapping[str, CategorySummary], night: Mapping[str, CategoryNight]
) -> str:
    """Return the HTML of the overview."""
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
        title={"nightly": "Nightly run", "score": "New images"}.get(source.command, "Run"),
        run_info=run_info,
        members=[member["backbone"] for member in run_info.config["members"]],
        rows=rows,
        failed=failed,
        unreadable=[failure for failure in failures if failure.image_path is not None],
        labeled=any(row.summary.defective for row in rows),
        night=bool(night),
    )


def _urgency(night: CategoryNight | None) -> Urgency:
    """Return why a category needs attention; `Urgency.NONE` for a category without results of a nightly run."""
    if night is None:
        return Urgency.NONE
    return urgency_of(night, status=night.learned, ks_p_value=night.ks_p_value)


def _done(night: CategoryNight | None) -> str:
    """Return what was done with a category that needs no attention."""
    return "scored" if night is None else str(night.learned)
