"""Fixtures that several tests share: small runs, nightly runs and stores."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipelines.config.run_config import RunConfig
from pipelines.config.run_context import RunContext
from pipelines.runtime import attempts
from pipelines.runtime.attempts import AttemptCounter, RetryLimit
from pipelines.stages.runner import Runner
from pipelines.storage.schemas import Provenance
from pipelines.storage.store import Store
from pipelines.tracking.console import Console
from pipelines.tracking.run_record import RunRecord
from tests.pipelines.nights import Factory, NightOutput
from tests.pipelines.runs import MEMBER, SCRIPT, Finished, call_alone, ensemble_options, make_category


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the data root of two categories with difficult files.

    The name of one category has special characters, the name of one image is a script, and each split of `cloth` has
    an unreadable image.
    """
    root = tmp_path_factory.mktemp("data")
    make_category(root / "cloth", seed=0)
    make_category(root / "a=b x%20y", seed=5000, train=10)
    (root / "cloth" / "train" / "good" / "broken.png").write_bytes(b"")
    (root / "cloth" / "test" / "good" / "004.png").rename(root / "cloth" / "test" / "good" / SCRIPT)
    whole = (root / "cloth" / "test" / "good" / "000.png").read_bytes()
    (root / "cloth" / "test" / "good" / "cut.png").write_bytes(whole[: len(whole) * 6 // 10])
    return root


@pytest.fixture(scope="session")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Return a run of both categories with two members, trained adapters, maps, a report and one worker."""
    options = ensemble_options(data, tmp_path_factory.mktemp("runs") / "one", "--maps", "--workers", "1", "--report")
    return call_alone(*options)


@pytest.fixture(scope="session")
def factory(tmp_path_factory: pytest.TempPathFactory) -> Factory:
    """Return a factory with three categories; only `bolt` has enough images for a conclusive acceptance test."""
    factory = Factory(tmp_path_factory.mktemp("factory"))
    make_category(factory.data / "bolt", seed=0, train=50, good=3, defects=3)
    make_category(factory.data / "cloth", seed=2000, train=12, good=3, defects=3)
    make_category(factory.data / "nut", seed=4000, train=12, good=3, defects=3)
    return factory


@pytest.fixture(scope="session")
def first(factory: Factory) -> NightOutput:
    """Return the output of the first nightly run; later runs may have changed the registry when a test reads it."""
    return factory.night("--report")


@pytest.fixture
def copied(finished: Finished, tmp_path: Path) -> Path:
    """Return a copy of the finished run that a test can change."""
    shutil.copytree(finished.out, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    """Return a runner of a new run on a local disk."""
    config = RunConfig(command="ensemble", data="data", out="out", members=(MEMBER,), image_size=96)
    data, out = Store.of(str(tmp_path / "data")), Store.of(str(tmp_path / "run"))
    record = RunRecord(config, out, Console(), {}, "0" * 32, datetime.now(UTC))
    provenance = Provenance("0" * 32, datetime.now(UTC))
    context = RunContext(config=config, data=data, out=out, scratch=out, provenance=provenance)
    return Runner(context=context, record=record, console=record.console, workers=4)


@pytest.fixture
def give_up(monkeypatch: pytest.MonkeyPatch) -> RetryLimit:
    """Return a limit of three retries, whose counter is in this process."""
    counter = AttemptCounter()

    class Actor:
        class begin:  # noqa: N801 (Ray calls it like this)
            @staticmethod
            def remote(work: Any) -> int:
                return counter.begin(work)

    monkeypatch.setattr(attempts.ray, "get", lambda answer: answer)
    return RetryLimit(Actor, 3)


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """Return an empty folder, on a local disk and in an object store."""
    if request.param == "local":
        return Store.of(str(tmp_path / "store"))
    return Store.of(request.getfixturevalue("bucket")).below(tmp_path.name)
