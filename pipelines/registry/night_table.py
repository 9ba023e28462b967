"""Results of a nightly run for each category: night.parquet."""

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
    """Results of a nightly run for a category; a row of night.parquet. Values that are not known are None.

    Attributes:
        category: Name of the category.
        run_id: Id of the nightly run.
        learned: Result of training, a value of `TrainingResult`.
        candidate: Version that was tested; None if no acceptance test was run.
        reasons: Sentences of the acceptance test.
        model_version: Version that scored the new images.
        judged: Result of scoring, a value of `ScoringResult`.
        images: Number of images that were scored.
        unreadable: Number of images that could not be read.
        anomalies: Number of flagged images; None without a threshold.
        above_threshold, ks, ks_p_value, rare: See `DriftRow`.
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
    """Read night.parquet.

    Args:
        folder: Folder of the scores of a nightly run, or work folder of a registry.

    Returns:
        category -> its row, with current values of statuses; empty if there is no such file.

    Raises:
        OSError: The file cannot be read.
        UsageError: The file is damaged.
    """
    rows = rows_if_there(folder, NIGHT_FILE)
    return {row["category"]: _in_words_of_today(CategoryNight.from_row(row)) for row in rows}


def write_night(folder: Store, rows: Mapping[str, CategoryNight]) -> None:
    """Write night.parquet.

    Args:
        folder: Folder of the scores of a nightly run, or work folder of a registry.
        rows: category -> row, in the order in which the rows are written.
    """
    write_rows(folder, NIGHT_FILE, list(rows.values()), NIGHT)


def _in_words_of_today(night: CategoryNight) -> CategoryNight:
    return replace(
        night,
        learned=None if night.learned is None else current_word(night.learned),
        judged=None if night.judged is None else current_word(night.judged),
    )
