"""The source of a report: the files of a run, of a nightly run, or of `score`."""

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
from pipelines.tracking.run_info import RunInfo, read_run


@dataclass(frozen=True, kw_only=True)
class ReportSource:
    """Scores with the images and models that they were computed from.

    Attributes:
        out: Run directory, or folder of the scores of `nightly` or `score`.
        command: Command that wrote the folder: 'ensemble', 'single', 'demo', 'nightly' or 'score'.
        images: Root of the scored images.
        training_images: Root of the images that the models were trained on.
        models: Run directory or registry that contains the models.
        run_info: Content of run.json.
    """

    out: Store
    command: str
    images: Store
    training_images: Store
    models: Store
    run_info: RunInfo

    @classmethod
    def of(cls, folder: str, data: str | None = None) -> ReportSource:
        """Return the source for a folder that a command has written.

        Args:
            folder: Path or URI of a run directory, or of the scores of `nightly` or `score`.
            data: Path or URI of the root of the scored images; None uses the root that is stored in run.json.

        Raises:
            UsageError: The folder holds neither a run nor scores, or the stored address of the images is redacted and
                `data` is None.
        """
        out = Store.of(folder)
        run_info = _run_info(out)
        config, origin = stored_config(run_info.config), run_info.origin
        images = data or origin.get("images") or config.data
        if is_redacted(images):
            raise UsageError(
                "The address of the images contains credentials, which are not stored. Give the address with --data."
            )
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
        """Return the source for a run of the current process, which has just written run.json.

        Args:
            out: Run directory, or folder of the nightly run's scores.
            command: Name of the command that is running.
            images: Root of the scored images.
            training_images: Root of the images that the models were trained on; None uses `images`.
            models: Run directory or registry that contains the models; None uses `out`.

        Raises:
            UsageError: The folder has no run.json.
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
        """Whether the folder is a run directory, which also contains the models and the members' scores."""
        return self.models.root == self.out.root

    def categories(self) -> list[str]:
        """Return the categories that have scores, sorted."""
        if self.is_run:
            names = [self.out.name_of(info).removeprefix(f"{FUSED_FOLDER}/") for info in self.out.files(FUSED_FOLDER)]
            return sorted(unquote(name.removesuffix(".parquet")) for name in names if name.endswith(".parquet"))
        return sorted(unquote(name) for name in self.out.folders(FUSED_FOLDER))

    def scored_images(self, category: str) -> list[ScoredImage]:
        """Return the rows of a category in scores/fused.

        Args:
            category: Name of the category.
        """
        return [ScoredImage.of_row(row) for name in self._files(category) for row in read_rows(self.out, name)]

    def key(self, category: str) -> list[str]:
        """Return the cache keys of the files with a category's rows. A key changes when the rows change.

        Args:
            category: Name of the category.
        """
        return [metadata_of(self.out, name).get("key", self.run_info.run_id) for name in self._files(category)]

    def index(self) -> dict[str, dict[str, ImageRecord]]:
        """Return category → image_path → row of index.parquet; an empty dict if there is no such file."""
        index: dict[str, dict[str, ImageRecord]] = {}
        for row in rows_if_there(self.out, INDEX_FILE):
            record = ImageRecord.from_row(row)
            index.setdefault(record.category, {})[record.image_path] = record
        return index

    def metrics(self) -> dict[str, list[MetricsRow]]:
        """Return category → rows of metrics.parquet, that of the ensemble first; an empty dict without that file."""
        rows: dict[str, list[MetricsRow]] = {}
        for row in rows_if_there(self.out, METRICS_FILE):
            rows.setdefault(row["category"], []).append(MetricsRow.from_row(row))
        return rows

    def night(self) -> dict[str, CategoryNight]:
        """Return category → row of night.parquet; an empty dict if there is no such file."""
        return read_night(self.out)

    def stored_model(self, category: str, version: str) -> StoredModel:
        """Return the model that scored a category.

        Args:
            category: Name of the category.
            version: Model version that is stored in the rows of the scores.

        Raises:
            ModelError: The model has been removed or is damaged.
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
        """Return the patch scores of a member for some images.

        Args:
            category: Name of the category.
            backbone: timm name of the member's backbone.
            paths: Paths of the images.

        Returns:
            The patch scores; None if they are not stored. Only run directories contain them.
        """
        name = member_scores_file(category, backbone)
        if not self.is_run or not self.out.exists(name):
            return None
        table = read_table(self.out, name, filters=[("image_path", "in", paths)])
        return as_member_scores(table) if table.num_rows else None

    def maps(self, category: str, paths: Sequence[str]) -> dict[str, npt.NDArray[np.float32]]:
        """Return the stored anomaly maps of some images.

        Args:
            category: Name of the category.
            paths: Paths of the images.

        Returns:
            image_path → anomaly map, (height, width) float32. Images without a stored map are missing.
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
        """Return the files with a category's rows of scores/fused."""
        if self.is_run:
            return [fused_scores_file(category)]
        return [self.out.name_of(info) for info in self.out.files(fused_parts(category))]


def _run_info(out: Store) -> RunInfo:
    """Return the content of run.json; raise UsageError without that file."""
    run_info = read_run(out)
    if run_info is None:
        raise UsageError(f"{out.uri} holds no run, no nightly run and no scores: it has no {RUN}. Give another folder.")
    return run_info
