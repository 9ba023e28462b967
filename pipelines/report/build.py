"""The whole report: a task a category, then the overview. What stands, and has not changed, is not made again."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from pipelines.config import stored_config
from pipelines.keys import key_of
from pipelines.progress import Screen
from pipelines.report.category import PageOrder, page_name, write_category
from pipelines.report.pages import render_page
from pipelines.report.render import MEDIA
from pipelines.report.subject import Subject
from pipelines.rundir import FAILURES_FILE, REPORT
from pipelines.session import ray_session
from pipelines.stages import Stages
from pipelines.status import URGENCY, attention
from pipelines.storage import Store, side_by_side
from pipelines.tables import rows_if_there
from pipelines.tasks import run_tasks, sentence_of
from pipelines.usage import UsageError

FIGURES = ("png", "svg", "pdf")  # formats
_PAGES = "pages.json"
_LOOK = 2  # raised when the same inputs give another page


def write_report(
    subject: Subject,
    screen: Screen,
    workers: int,
    *,
    beside: Subject | None = None,
    before: Store | None = None,
    figures: tuple[str, ...] = (),
) -> tuple[Store, list[str]]:
    """Write `report/` into a subject's folder. A Ray session has to be there.

    Args:
        workers: how many categories at once.
        beside: another run of the same images, the scores of which are shown beside.
        before: an earlier report, of which pictures are taken over.
        figures: formats of the figures that are drawn as well.

    Returns:
        The report's folder, and a sentence a category whose page could not be made.
    """
    report = subject.out.below(REPORT)
    categories = subject.categories()
    stored = {} if beside is not None or figures else _standing(report)
    index, metrics, night = subject.index(), subject.metrics(), subject.night()
    keys = dict(zip(categories, side_by_side(lambda name: _key(subject, name, night), categories), strict=True))
    summaries = {
        name: stored[name]["summary"]
        for name in categories
        if stored.get(name, {}).get("key") == keys[name] and report.exists(page_name(name))
    }
    due = [name for name in categories if name not in summaries]
    shared = set() if beside is None else set(beside.categories())

    def order(category: str) -> tuple[Any, ...]:
        position = categories.index(category)
        around = (
            categories[position - 1] if position else None,
            categories[position + 1] if position + 1 < len(categories) else None,
        )
        media = None if before is None else before.below(MEDIA)
        mine = index.get(category, {}), metrics.get(category, []), night.get(category, {})
        other = beside if category in shared else None
        return PageOrder(subject, category, *mine, around, other, media, figures), report

    sentences = []
    if due:
        with screen.stage("report", len(due), "categories") as stage:
            for category, answer in run_tasks(write_category, due, order, workers, {"num_cpus": 1}):
                stage.advance()
                if isinstance(answer, Exception):
                    sentences.append(f"{category}: no page in the report: {sentence_of(answer)}")
                    continue
                summaries[category] = answer
    made = {name: {"key": keys[name], "summary": summaries[name]} for name in categories if name in summaries}
    report.write_json(_PAGES, made)
    report.write("index.html", _overview(subject, summaries, night).encode())
    return report, sentences


def report(
    run_folder: str,
    screen: Screen,
    *,
    data: str | None = None,
    beside: str | None = None,
    figures: tuple[str, ...] = (),
    **where: Any,
) -> int:
    """`reconpatch-run report`: write the pages anew where something has changed.

    Args:
        data, beside, figures: as of `Subject.of` and `write_report`.
        where: workers, address, as in RunConfig.

    Returns:
        The exit code: 1 where a category has no page.

    Raises:
        UsageError: no run, no night and no scores there; figures without matplotlib.
    """
    if figures and find_spec("matplotlib") is None:
        raise UsageError(
            "--figures: matplotlib draws them, and is not installed; pip install 'reconpatch-ray[figures]'."
        )
    subject = Subject.of(run_folder, data)
    other = None if beside is None else Subject.of(beside, data)
    config = stored_config(subject.told["config"], **where)
    with ray_session(config) as workers:
        return tell(subject, screen, workers, beside=other, figures=figures)


def tell(subject: Subject, screen: Screen, workers: int, **more: Any) -> int:
    """Write the report, `more` as of `write_report`, and say where it is; the exit code."""
    place, sentences = write_report(subject, screen, workers, **more)
    for sentence in sentences:
        screen.warn(sentence)
    screen.say(f"report   {place.below('index.html').uri}")
    return 1 if sentences else 0


def report_at_the_end(subject: Subject, stages: Stages, before: Store | None = None) -> None:
    """The report of what has just been done; one that fails takes nothing away from the scores, which stand."""
    try:
        tell(subject, stages.screen, stages.cpu_workers, before=before)
    except Exception as error:
        stages.screen.warn(f"there is no report: {sentence_of(error)}")


def _standing(report: Store) -> dict[str, dict[str, Any]]:
    """What the pages that are there were made of; nothing where that is damaged: they are made again."""
    try:
        return {name: each for name, each in (report.read_json(_PAGES) or {}).items() if each["summary"]}
    except (ValueError, TypeError, LookupError, AttributeError):
        return {}


def _key(subject: Subject, category: str, night: Mapping[str, Any]) -> str:
    return key_of(
        [subject.key(category), sorted((key, str(value)) for key, value in night.get(category, {}).items()), _LOOK]
    )


def _overview(subject: Subject, summaries: Mapping[str, dict[str, Any]], night: Mapping[str, dict[str, Any]]) -> str:
    told = subject.told
    failed: dict[str, str] = told["failed"]
    names = sorted({*summaries, *failed, *night})
    rows = []
    for name in names:
        row = {**_nothing(name), **summaries.get(name, {})}
        state = "failed" if name in failed else _state(night.get(name))
        row |= {"state": state, "urgency": URGENCY.index(state) if state in URGENCY else len(URGENCY)}
        rows.append(row)
    if night:
        rows.sort(key=lambda row: (row["urgency"], row["category"]))
    return render_page(
        "index.html",
        root=".",
        title={"nightly": "Last night", "score": "New images"}.get(subject.command, "Run"),
        told=told,
        members=[member["backbone"] for member in told["config"]["members"]],
        rows=rows,
        failed=failed,
        unreadable=[row for row in rows_if_there(subject.out, FAILURES_FILE) if row["image_path"] is not None],
        labelled=any(row["defective"] for row in rows),
        night=bool(night),
    )


def _nothing(category: str) -> dict[str, Any]:
    """What the overview says of a category without a page."""
    names = ("page", "alarms", "missed", "false_alarms", "bound", "ks", "spark")
    metrics = ("image_auroc", "image_ap", "d_prime", "pixel_auroc", "aupro")
    return {"category": category, "images": 0, "defective": 0, **dict.fromkeys((*names, *metrics))}


def _state(told: Mapping[str, Any] | None) -> str:
    """What wants attention, else what was done."""
    if told is None:
        return "scored"
    return attention({**told, "status": told["learned"]}) or str(told["learned"])
