"""Tests of jobs: their size, and the summary that a fusion stores for the next run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.config.networks import Network
from pipelines.data.records import ImageRecord
from pipelines.planning.cache_keys import Keys
from pipelines.planning.jobs import FusedSummary, FuseJob, MemberJob, stored_summary
from pipelines.storage.parquet import write_rows
from pipelines.storage.paths import fused_scores_file
from pipelines.storage.schemas import MetricsRow, fused_schema
from pipelines.storage.store import Store
from reconpatch.detector.model import CODE_VERSION, Model
from tests.pipelines.runs import BACKBONES, MEMBER, Finished

CELLS, CHANNELS = 144, 152
SUMMARY = FusedSummary(
    metrics=(
        MetricsRow(category="nut", model="ensemble", image_auroc=0.75, d_prime=1 / 3, n_good=2, n_defect=1),
        MetricsRow(category="nut", model="a", n_good=2, n_defect=1),
    ),
    warnings=("nut: the mask of a defect is empty.", "\u03c3 > 0"),
)


@pytest.fixture
def job() -> MemberJob:
    """Return the job of a member with three fit images, a calibration image and a test image; every stage is due."""
    images = [ImageRecord("nut", "train", "good", f"{number}.png", part="fit") for number in range(3)]
    images += [
        ImageRecord("nut", "train", "good", "3.png", part="holdout"),
        ImageRecord("nut", "test", "good", "4.png", label=0),
    ]
    return MemberJob(
        category="nut",
        member=MEMBER,
        keys=Keys("", "", "", "", ""),
        network=Network("", "", CELLS, CHANNELS),
        images=tuple(images),
        fit_shards=("fit",),
        score_shards=("fit", "rest"),
        fit=True,
        select=True,
        score=True,
    )


def test_the_weight_of_a_member_is_its_number_of_fit_images(job: MemberJob) -> None:
    assert job.fit_images == 3
    assert job.size == 1
    assert job.name == ("nut", MEMBER.backbone)


@pytest.mark.parametrize(
    ("epochs", "init", "dim"),
    [
        (1, "raw", 64),
        (1, "white", 64),
        (0, "white", CHANNELS),  # not trained, as wide as the backbone's features
        (0, "raw", 0),  # the identity
    ],
)
def test_dim_is_the_output_dimension_of_the_adapter(job: MemberJob, *, epochs: int, init: str, dim: int) -> None:
    assert replace(job, member=replace(MEMBER, dim=64, epochs=epochs, init=init)).dim == dim


@pytest.mark.parametrize(
    ("epochs", "dim", "bytes_per_patch"),
    [
        (1, 64, 2 * CHANNELS),  # float16 features are larger than 64 float32 numbers
        (1, 100, 4 * 100),
        (1, 256, 4 * CHANNELS),  # the adapter never makes features wider
    ],
)
def test_copied_bytes_cover_the_features_of_the_fit_images(
    job: MemberJob, *, epochs: int, dim: int, bytes_per_patch: int
) -> None:
    job = replace(job, member=replace(MEMBER, epochs=epochs, dim=dim))
    assert job.copied_bytes == 3 * CELLS * bytes_per_patch
    assert replace(job, fit=False).copied_bytes == job.copied_bytes  # the bank is selected from them as well


def test_scoring_alone_copies_no_features(job: MemberJob) -> None:
    assert replace(job, fit=False, select=False).copied_bytes == 0


def test_a_fuse_job_belongs_to_the_whole_category() -> None:
    model = Model("nut", "v", (), 96, True, 16, 16, "patch", 9, 0.01, CODE_VERSION)
    job = FuseJob(model=model, images=(), key="", maps=False)
    assert (job.category, job.backbone, job.size) == ("nut", None, 1)


def test_a_stored_summary_is_read_back(tmp_path: Path) -> None:
    out = Store.of(str(tmp_path))
    write_rows(out, fused_scores_file("nut"), [], fused_schema(["a"]), metadata={"summary": SUMMARY.to_json()})
    assert stored_summary(out, "nut") == SUMMARY


def test_scores_without_a_summary_have_an_empty_one(tmp_path: Path) -> None:
    out = Store.of(str(tmp_path))
    assert stored_summary(out, "nut") == FusedSummary()
    write_rows(out, fused_scores_file("nut"), [], fused_schema(["a"]))
    assert stored_summary(out, "nut") == FusedSummary()


def test_a_finished_run_has_a_summary_of_each_category(finished: Finished) -> None:
    out = Store.of(str(finished.out))
    summary = stored_summary(out, "cloth")
    assert [row.model for row in summary.metrics] == ["ensemble", *BACKBONES]
    assert stored_summary(out, "nothing") == FusedSummary()


def test_a_summary_of_schema_version_1_is_read(tmp_path: Path) -> None:
    out = Store.of(str(tmp_path))
    row = MetricsRow(category="nut", model="ensemble", n_good=1, n_defect=0)
    story = json.dumps({"metrics": [row.row()], "warnings": ["odd"]})
    write_rows(out, fused_scores_file("nut"), [], fused_schema(["a"]), metadata={"story": story})
    assert stored_summary(out, "nut") == FusedSummary(metrics=(row,), warnings=("odd",))
