"""What a night knows and tells: its options, how the last one ended, and what is to be read in the morning."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from pipelines.config import RunConfig
from pipelines.deadline import JUDGE, LEARN, Costs
from pipelines.gate import Terms
from pipelines.networks import Networks
from pipelines.plan import CategoryPlan, version_of
from pipelines.record import Record
from pipelines.registry import Registry
from pipelines.rundir import FAILURES, FAILURES_FILE, NIGHT, NIGHT_FILE, RUN
from pipelines.secrets import masked
from pipelines.stages import Stages
from pipelines.storage import Store, side_by_side
from pipelines.tables import read_rows, write_rows
from pipelines.tasks import sentence_of
from pipelines.today import Before

_R = TypeVar("_R")


@dataclass(frozen=True)
class NightOptions:
    """What a night has beside the options of a recipe."""

    registry: str
    scores: str
    images: str | None = None
    deadline: str | None = None
    keep: int = 5
    wait: bool = False
    terms: Terms = field(default_factory=Terms)


def place_of(options: NightOptions, config: RunConfig) -> dict[str, Any]:
    """What has to be the same for a night that was cut off to be gone on with."""
    return {
        "scores": Store.of(options.scores).uri,
        "images": masked(options.images or config.data),
        "bit_depth": config.bit_depth,
        "categories": list(config.categories),
    }


@dataclass
class Night:
    """A night that goes on.

    Attributes:
        stages: of the work directory; its record is the night's.
        out: SCORES/<run_id>.
        told: category → its row of night.parquet, so far.
        before: how the last night ended: the work directory's run.json.
        deadline: when all has to be done.
    """

    options: NightOptions
    registry: Registry
    stages: Stages
    out: Store
    networks: Networks
    costs: Costs
    before: dict[str, Any]
    deadline: datetime | None
    told: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def record(self) -> Record:
        """The night's, which is that of its stages."""
        return self.stages.record

    def tell(self, category: str, **columns: Any) -> None:
        """Set columns of a category's row of night.parquet."""
        self.told.setdefault(category, {"category": category}).update(columns)

    def version(self, plan: CategoryPlan) -> str:
        """What a plan's model will be called."""
        return version_of(plan, self.stages.config)

    @property
    def images_root(self) -> Store:
        """Where today's images are."""
        return self.stages.data if self.options.images is None else Store.of(self.options.images)

    @contextmanager
    def guarded(self, category: str, stage: str, **columns: str) -> Iterator[None]:
        """Whatever is wrong with one category's files is that category's failure; the night goes on.

        Args:
            columns: what is told of it then.
        """
        try:
            yield
        except Exception as error:  # damaged models, lost files, other weights, JSON of anything
            says_it = isinstance(error, (OSError, ValueError))
            sentence = " ".join(str(error).split())[:500] if says_it else sentence_of(error)
            self.record.category_failed(category, stage, sentence)
            self.tell(category, **columns)

    def of_each(
        self, work: Callable[[str], _R], categories: Sequence[str], stage: str, **columns: str
    ) -> dict[str, _R]:
        """Category → what a piece of work says of it, guarded each; it waits for files, and is done side by side.

        Returns:
            Those that went well, in the order given.
        """

        def attempt(category: str) -> _R | Exception:
            try:
                return work(category)
            except Exception as error:
                return error

        found: dict[str, _R] = {}
        for category, answer in zip(categories, side_by_side(attempt, categories), strict=True):
            with self.guarded(category, stage, **columns):
                if isinstance(answer, Exception):
                    raise answer
                found[category] = answer
        return found

    def seconds_left(self) -> float | None:
        """Until the deadline, negative after it; None without one."""
        return None if self.deadline is None else (self.deadline - datetime.now().astimezone()).total_seconds()

    def last_place(self) -> dict[str, Any]:
        """Of the nights that came to their end, the place of the last of the same categories, else of all of them."""
        places = [place for place in self.before.get("finished") or [] if isinstance(place, dict)]
        same = [place for place in places if place.get("categories") == list(self.stages.config.categories)]
        return next(iter([*same, *(place for place in places if not place.get("categories"))]), {})

    def last_finished(self) -> Before:
        """The rows of the last night that came to its end, where they are of the same images, read in the same way."""
        told, place = self.last_place(), self.place()
        if any(told.get(name) != place[name] for name in ("scores", "images", "bit_depth")):
            return Before(None)
        try:
            return Before(Store.of(self.options.scores).below(told["run_id"]))
        except (OSError, ValueError) as error:
            self.record.warn(f"Nothing is taken over from the last night: {error}")
            return Before(None)

    def place(self) -> dict[str, Any]:
        """Which night this is, of which images, and where its rows are."""
        return {"run_id": self.record.run_id, **place_of(self.options, self.stages.config)}

    def _not_asked(self) -> list[dict[str, Any]]:
        """What the last night has told of categories that this one was not asked for."""
        work = self.stages.out
        if not self.stages.config.categories or not work.exists(NIGHT_FILE):
            return []
        try:
            return [row for row in read_rows(work, NIGHT_FILE) if row["category"] not in self.told]
        except ValueError:  # what is damaged tells nothing, and is written anew
            return []

    def _finished(self) -> list[dict[str, Any]]:
        """Places of nights to take rows from, the newest first: one of some categories replaces none of the others."""
        mine = self.place()
        before = [place for place in self.before.get("finished") or [] if isinstance(place, dict)]
        return [mine, *(place for place in before if mine["categories"] and place["categories"] != mine["categories"])]

    def save(self, status: str) -> None:
        """Write night.parquet and failures.parquet, and what the next night has to know."""
        record, config = self.record, self.stages.config
        rows = [self.told[category] for category in sorted(self.told)]
        write_rows(self.out, FAILURES_FILE, record.failures, FAILURES)
        ended = status in ("complete", "partial")
        table = [{**row, "run_id": record.run_id} for row in rows]
        write_rows(self.out, NIGHT_FILE, table, NIGHT)
        record.save(status)
        others = self._not_asked()
        if ended:  # where `status` looks
            write_rows(self.stages.out, NIGHT_FILE, [*table, *others], NIGHT)
        story = {
            "run_id": record.run_id,
            "status": status,
            "started_at": record.started_at.isoformat(),
            "config": {"data": masked(config.data), "bit_depth": config.bit_depth},
            "place": self.place(),
            "deferred": {
                LEARN: [row["category"] for row in [*rows, *others] if row.get("learned") == "deferred"],
                JUDGE: [row["category"] for row in [*rows, *others] if row.get("judged") == "deferred"],
            }
            if ended
            else self.before.get("deferred", {}),
            "finished": self._finished() if ended else self.before.get("finished"),
        }
        self.stages.out.write_json(RUN, story)
