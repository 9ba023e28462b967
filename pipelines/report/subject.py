"""What a report is about: the files of a run, of a nightly run, or of `score`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote

import numpy as np
import numpy.typing as npt

from pipelines.config.run_config import stored_config
from pipelines.data.records import ImageRecord
from pipelines.errors import UsageError
from pipelines.registry.night_table import CategoryNight, read_night
from pipelines.registry.registry import Registry, find_model
from pipelines.report.rows import ScoredImage
from pipelines.stages.member_scores import MemberScores, as_member_scores
from pipelines.storage.parquet import metadata_of, read_rows, read_table, rows_if_there
from pipelines.storage.paths import (
    FUSED_FOLDER,
    INDEX_FILE,
    METRICS_FILE,
    RUN,
    fused_parts,
    fused_scores_file,
    maps_file,
    maps_parts,
    member_scores_file,
    model_folder,
)
from pipelines.storage.redaction import is_redacted
from pipelines.storage.schemas import MetricsRow
from pipelines.storage.store import Store
from pipelines.storage.stored_model import StoredModel
from pipelines.tracking.run_record import RunInfo, read_run


@dataclass(frozen=True, kw_only=True)
class ReportSource:
    """Scores, and the images and models that they come from.

    Attributes:
        out: folder of the run, of the nightly run's scores, or of the scores of `score`.
        command: that wrote it: 'ensemble', 'single', 'demo', 'nightly' or 'score'.
        images: root of the scored images.
        training_images: root of the images that the models were trained on.
        models: where the models are: a run's folder, or a registry.
        run_info: contents of run.json.
    """

    out: Store
    command: str
    images: Store
    training_images: Store
    models: Store
    run_info: RunInfo

    @classmethod
    def of(cls, folder: str, data: str | None = None) -> ReportSource:
        """Read what a folder holds.

        Args:
            folder: path or URI of a run, of a nightly run's scores, or of the scores of `score`.
            data: where the scored images are now; by default where they were.

        Raises:
            UsageError: the folder holds neither a run nor scores, or the address of its images had credentials.
        """
        out = Store.of(folder)
        run_info = _run_info(out)
        config, origin = stored_config(run_info.config), run_info.origin
        images = data or origin.get("images") or config.data
        if is_redacted(images):
            raise UsageError("The address of the images has credentials, which are not stored; give it with --data.")
        models = origin.get("models")
        training_images = config.data if config.command == "nightly" else images
        return cls(
            out=out,
            command=config.command,
            images=Store.of_data(images),
            training_images=Store.of_data(training_images),
            models=out if models is None else Store.of(models),
            run_info=run_info,
        )

    @classmethod
    def of_run(
        cls,
        out: Store,
        *,
        command: str,
        images: Store,
        training_images: Store | None = None,
        models: Store | None = None,
    ) -> ReportSource:
        """Return a run of this process, whose run.json has just been written.

        Args:
            out: folder of the run, or of the nightly run's scores.
            command: that is running.
            images: root of the scored images.
            training_images: root of the images that the models were trained on; by default that of the scored images.
            models: where the models are; by default in the run's folder.

        Raises:
            UsageError: there is no run.json.
        """
        return cls(
            out=out,
            command=command,
            images=images,
            training_images=training_images or images,
            models=models or out,
            run_info=_run_info(out),
        )

    @property
    def is_run(self) -> bool:
        """Whether the folder also holds the models and the members' scores."""
        return self.models.root == self.out.root

    def categories(self) -> list[str]:
        """Return the categories that have scores, sorted."""
        if self.is_run:
            names = [self.out.name_of(info).removeprefix(f"{FUSED_FOLDER}/") for info in self.out.files(FUSED_FOLDER)]
            return sorted(unquote(name.removesuffix(".parquet")) for name in names if name.endswith(".parquet"))
        return sorted(unquote(name) for name in self.out.folders(FUSED_FOLDER))

    def scored_images(self, category: str) -> list[ScoredImage]:
        """Return a category's rows of scores/fused."""
        return [ScoredImage.of_row(row) for name in self._files(category) for row in read_rows(self.out, name)]

    def key(self, category: str) -> list[str]:
        """Return the cache keys of a category's rows, which change when the rows do."""
        return [metadata_of(self.out, name).get("key", self.run_info.run_id) for name in self._files(category)]

    def index(self) -> dict[str, dict[str, ImageRecord]]:
        """Return category → image_path → row of index.parquet; empty without that file."""
        index: dict[str, dict[str, ImageRecord]] = {}
        for row in rows_if_there(self.out, INDEX_FILE):
            record = ImageRecord.from_row(row)
            index.setdefault(record.category, {})[record.image_path] = record
        return index

    def metrics(self) -> dict[str, list[MetricsRow]]:
        """Return category → its rows of metrics.parquet, the ensemble's first; empty without that file."""
        rows: dict[str, list[MetricsRow]] = {}
        for row in rows_if_there(self.out, METRICS_FILE):
            rows.setdefault(row["category"], []).append(MetricsRow.from_row(row))
        return rows

    def night(self) -> dict[str, CategoryNight]:
        """Return category → its row of night.parquet; empty without that file."""
        return read_night(self.out)

    def stored_model(self, category: str, version: str) -> StoredModel:
        """Return the model that scored a category.

        Args:
            category: of the scores.
            version: of the model, as the scores name it.

        Raises:
            ModelError: it does not exist any more, or is damaged.
        """
        registry = Registry(self.models)
        if self.is_run:
            folder = self.out.below(model_folder(category))
        elif registry.holds(category, version):
            folder = registry.version(category, version)
        else:
            folder = find_model(self.models, category)
        return StoredModel.load(folder)

    def member_scores(self, category: str, backbone: str, paths: Sequence[str]) -> MemberScores | None:
        """Return a member's patch scores of some images; None where they are not stored, which only a run does.

        Args:
            category: of the images.
            backbone: of the member.
            paths: of the images.
        """
        name = member_scores_file(category, backbone)
        if not self.is_run or not self.out.exists(name):
            return None
        table = read_table(self.out, name, filters=[("image_path", "in", paths)])
        return as_member_scores(table) if table.num_rows else None

    def maps(self, category: str, paths: Sequence[str]) -> dict[str, npt.NDArray[np.float32]]:
        """Return image_path → anomaly map (height, width) of some images, as far as maps/ holds them.

        Args:
            category: of the images.
            paths: of the images.
        """
        if self.is_run:
            names = [maps_file(category)] if self.out.exists(maps_file(category)) else []
        else:
            names = [self.out.name_of(info) for info in self.out.files(maps_parts(category))]
        tables = [read_table(self.out, name, filters=[("image_path", "in", paths)]) for name in names if paths]
        return {
            row["image_path"]: np.asarray(row["map"], np.float32).reshape(row["height"], row["width"])
            for table in tables
            for row in table.to_pylist()
        }

    def _files(self, category: str) -> list[str]:
        if self.is_run:
            return [fused_scores_file(category)]
        return [self.out.name_of(info) for info in self.out.files(fused_parts(category))]


def _run_info(out: Store) -> RunInfo:
    run_info = read_run(out)
    if run_info is None:
        raise UsageError(f"{out.uri} holds no run, no nightly run and no scores (no {RUN} in it).")
    return run_info
