"""What a report is about: a run, a night's scores, or those of `score`; and where their files lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import pyarrow as pa

from pipelines.config import stored_config
from pipelines.member_scores import MemberScores, as_member_scores
from pipelines.record import read_run
from pipelines.registry import Registry, find_model
from pipelines.rundir import (
    FUSED_FOLDER,
    INDEX_FILE,
    METRICS_FILE,
    NIGHT_FILE,
    RUN,
    fused_parts,
    fused_scores_file,
    maps_file,
    maps_parts,
    member_scores_file,
    model_folder,
)
from pipelines.secrets import is_masked
from pipelines.storage import Store
from pipelines.tables import metadata_of, read_rows, read_table, rows_if_there
from pipelines.usage import UsageError


@dataclass(frozen=True)
class Subject:
    """Scores, and what belongs to them.

    Attributes:
        out: the run's, the night's or the scores' folder.
        command: that wrote it: 'ensemble', 'single', 'demo', 'nightly' or 'score'.
        pictures: the root of the scored images.
        learned: the root of the images that the models were learned from.
        models: where the models are: a run, or a registry.
        told: run.json.
    """

    out: Store
    command: str
    pictures: Store
    learned: Store
    models: Store
    told: Mapping[str, Any]

    @classmethod
    def of(cls, folder: str, data: str | None = None) -> Subject:
        """What lies in a folder.

        Args:
            data: where the scored images are now; by default where they were.

        Raises:
            UsageError: it holds neither run nor scores, or its data has credentials in its address.
        """
        out = Store.of(folder)
        told = read_run(out)
        if told is None:
            raise UsageError(f"--run {folder}: holds no run, no night and no scores (no {RUN} in it).")
        config, origin = stored_config(told["config"]), told.get("origin", {})
        pictures = data or origin.get("images") or config.data
        if is_masked(pictures):
            raise UsageError("The images' address has credentials, which are not kept: give it with --data.")
        models = origin.get("models")
        learned = config.data if config.command == "nightly" else pictures
        return cls(
            out,
            config.command,
            Store.of_data(pictures),
            Store.of_data(learned),
            out if models is None else Store.of(models),
            told,
        )

    @property
    def is_run(self) -> bool:
        """Whether models and members' scores lie in it."""
        return self.models.root == self.out.root

    def categories(self) -> list[str]:
        """Those that have scores, sorted."""
        if self.is_run:
            names = [self.out.name_of(info).removeprefix(f"{FUSED_FOLDER}/") for info in self.out.files(FUSED_FOLDER)]
            return sorted(unquote(name.removesuffix(".parquet")) for name in names if name.endswith(".parquet"))
        return sorted(unquote(name) for name in self.out.folders(FUSED_FOLDER))

    def rows(self, category: str) -> list[dict[str, Any]]:
        """Rows of scores/fused."""
        return [row for name in self._files(category) for row in read_rows(self.out, name)]

    def key(self, category: str) -> list[str]:
        """Of what the rows depend on; changes with them."""
        return [metadata_of(self.out, name).get("key", self.told["run_id"]) for name in self._files(category)]

    def index(self) -> dict[str, dict[str, dict[str, Any]]]:
        """category → image_path → row of index.parquet, where there is one."""
        found: dict[str, dict[str, dict[str, Any]]] = {}
        for row in rows_if_there(self.out, INDEX_FILE):
            found.setdefault(row["category"], {})[row["image_path"]] = row
        return found

    def metrics(self) -> dict[str, list[dict[str, Any]]]:
        """category → its rows of metrics.parquet, the ensemble's first."""
        found: dict[str, list[dict[str, Any]]] = {}
        for row in rows_if_there(self.out, METRICS_FILE):
            found.setdefault(row["category"], []).append(row)
        return found

    def night(self) -> dict[str, dict[str, Any]]:
        """category → its row of night.parquet, where there is one."""
        return {row["category"]: row for row in rows_if_there(self.out, NIGHT_FILE)}

    def model(self, category: str, version: str) -> Store:
        """The folder of the model that made a category's rows."""
        if self.is_run:
            return self.out.below(model_folder(category))
        held = Registry(self.models)
        return held.version(category, version) if held.holds(category, version) else find_model(self.models, category)

    def members(self, category: str, backbone: str, paths: list[str]) -> MemberScores | None:
        """A member's patch scores of some images; only a run keeps them."""
        name = member_scores_file(category, backbone)
        if not self.is_run or not self.out.exists(name):
            return None
        table = read_table(self.out, name, filters=[("image_path", "in", paths)])
        return as_member_scores(table) if table.num_rows else None

    def maps(self, category: str, paths: list[str]) -> dict[str, dict[str, Any]]:
        """image_path → row of maps/, as far as maps were written."""
        if self.is_run:
            names = [maps_file(category)] if self.out.exists(maps_file(category)) else []
        else:
            names = [self.out.name_of(info) for info in self.out.files(maps_parts(category))]
        tables: list[pa.Table] = [
            read_table(self.out, name, filters=[("image_path", "in", paths)]) for name in names if paths
        ]
        return {row["image_path"]: row for table in tables for row in table.to_pylist()}

    def _files(self, category: str) -> list[str]:
        if self.is_run:
            return [fused_scores_file(category)]
        return [self.out.name_of(info) for info in self.out.files(fused_parts(category))]
