"""What a night knows and tells: its options, how the last one ended, and what is to be read in the morning."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pipelines.deadline import JUDGE, LEARN, Costs
from pipelines.gate import Terms
from pipelines.networks import Networks
from pipelines.record import Record
from pipelines.registry import Registry
from pipelines.rundir import FAILURES, FAILURES_FILE, NIGHT, NIGHT_FILE, RUN
from pipelines.stages import Stages
from pipelines.storage import Store, masked, write_rows
from pipelines.today import Before

WORK = ".work"


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
        return self.stages.record

    def tell(self, category: str, **columns: Any) -> None:
        self.told.setdefault(category, {"category": category}).update(columns)

    @property
    def images_root(self) -> Store:
        """Where today's images are."""
        return self.stages.data if self.options.images is None else Store.of(self.options.images)

    def seconds_left(self) -> float | None:
        return None if self.deadline is None else (self.deadline - datetime.now().astimezone()).total_seconds()

    def last_finished(self) -> Before:
        """The rows of the last night that came to its end, where they are of the same images, read in the same way."""
        told = self.before.get("finished")
        same = told is not None and {**told, "run_id": ""} == {**self._place(), "run_id": ""}
        return Before(Store.of(self.options.scores).below(told["run_id"]) if told is not None and same else None)

    def _place(self) -> dict[str, Any]:
        return {
            "run_id": self.record.run_id,
            "scores": Store.of(self.options.scores).uri,
            "images": self.images_root.uri,
            "bit_depth": self.stages.config.bit_depth,
        }

    def save(self, status: str) -> None:
        """Write night.parquet and failures.parquet, and what the next night has to know."""
        record, config = self.record, self.stages.config
        rows = [self.told[category] for category in sorted(self.told)]
        write_rows(self.out, FAILURES_FILE, record.failures, FAILURES)
        for place in (self.out, self.stages.out):  # beside the scores, and where `status` looks
            write_rows(place, NIGHT_FILE, [{**row, "run_id": record.run_id} for row in rows], NIGHT)
        record.save(status)
        ended = status in ("complete", "partial")
        story = {
            "run_id": record.run_id,
            "status": status,
            "started_at": record.started_at.isoformat(),
            "scores": Store.of(self.options.scores).uri,
            "config": {"data": masked(config.data), "bit_depth": config.bit_depth},
            "deferred": {
                LEARN: [row["category"] for row in rows if row.get("learned") == "deferred"],
                JUDGE: [row["category"] for row in rows if row.get("judged") == "deferred"],
            },
            "finished": self._place() if ended else self.before.get("finished"),
        }
        self.stages.out.write_json(RUN, story)
