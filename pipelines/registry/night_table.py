"""night.parquet: what a nightly run did with each category."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from pipelines.registry.statuses import current_word
from pipelines.storage.parquet import rows_if_there, write_rows
from pipelines.storage.paths import NIGHT_FILE
from pipelines.storage.schemas import Row, schema_of
from pipelines.storage.store import Store


@dataclass(frozen=True, kw_only=True)
class CategoryNight(Row):
    """What a nightly run did with a category; a row of night.parquet. What is not known is None.

    Attributes:
        category: the category.
        run_id: the nightly run.
        learned: what became of training: a status.
        candidate: the version that was trained, where it was brought before the acceptance test.
        reasons: of the acceptance test.
        model_version: the model that scored the day's images.
        judged: what became of scoring: a status.
        images, unreadable: numbers of images that were scored, and that could not be read.
        anomalies: number of images above the threshold; None without a threshold.
        above_threshold, ks, ks_p_value, rare: see `DriftRow`.
    """

    category: str
    run_id: str | None = None
    learned: str | None = None
    candidate: str | None = None
    reasons: str | None = None
    model_version: str | None = None
    judged: str | None = None
    images: int | None = None
    unreadable: int | None = None
    anomalies: int | None = None
    above_threshold: float | None = None
    ks: float | None = None
    ks_p_value: float | None = None
    rare: float | None = None


NIGHT = schema_of(CategoryNight)


def read_night(folder: Store) -> dict[str, CategoryNight]:
    """Return category -> its row of night.parquet, statuses in the words of today; empty without that file.

    Args:
        folder: of a nightly run's scores, or the work folder of a registry.

    Raises:
        OSError: the file cannot be read.
        UsageError: it is damaged.
    """
    rows = rows_if_there(folder, NIGHT_FILE)
    return {row["category"]: _in_words_of_today(CategoryNight.from_row(row)) for row in rows}


def write_night(folder: Store, rows: Mapping[str, CategoryNight]) -> None:
    """Write night.parquet.

    Args:
        folder: of a nightly run's scores, or the work folder of a registry.
        rows: category -> row, in the order in which they are written.
    """
    write_rows(folder, NIGHT_FILE, list(rows.values()), NIGHT)


def _in_words_of_today(night: CategoryNight) -> CategoryNight:
    return replace(
        night,
        learned=None if night.learned is None else current_word(night.learned),
        judged=None if night.judged is None else current_word(night.judged),
    )
