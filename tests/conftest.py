"""Fixtures for all tests: a separate Ray token and an object store on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow.fs as pafs
import pytest
from hypothesis import settings
from moto.server import ThreadedMotoServer

from tests.object_stores import options_of

# The duration of an example depends on the machine and on modules that are not loaded yet, so there is no deadline.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


# Test modules that share a nightly run. The others share a run. Each of the two is computed
# once, in a separate process.
_NIGHTLY_MODULES = {
    "tests/pipelines/data/test_layouts.py",
    "tests/pipelines/nightly/test_run.py",
    "tests/pipelines/test_docs.py",
    "tests/pipelines/test_hostile_files.py",
    "tests/pipelines/test_night_images.py",
    "tests/pipelines/test_object_store.py",
}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Assign tests to processes when pytest-xdist runs them in two processes (`make test`).

    Each process starts Ray. All tests that share a run use one process, and all tests that share a nightly run use the
    other. Each module without Ray is assigned to either process.
    """
    from xdist.scheduler import LoadScopeScheduling

    class SharedRunScheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            module = nodeid.partition("::")[0]
            if module.split("/")[1] not in ("pipelines", "faults"):
                return module
            return "nightly runs" if module in _NIGHTLY_MODULES else "runs"

    return SharedRunScheduling(config, log)


@pytest.fixture(scope="session", autouse=True)
def own_ray_token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Use a separate authentication token of Ray, which otherwise is in the home folder."""
    token = tmp_path_factory.mktemp("ray") / "token"
    token.write_text("0" * 64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
        patch.delenv("RAY_ADDRESS", raising=False)
        # Credentials for the object store on loopback. Ray workers inherit the environment in which Ray starts.
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield


@pytest.fixture(scope="session")
def object_store() -> Iterator[tuple[str, int]]:
    """Start an object store on loopback, moto's S3 server with a bucket `lake`; yield its host and port."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    filesystem, _ = pafs.FileSystem.from_uri(f"s3://anything?{options_of(host, port)}&allow_bucket_creation=true")
    filesystem.create_dir("lake")
    yield host, port
    server.stop()


@pytest.fixture(scope="session")
def bucket(object_store: tuple[str, int]) -> str:
    """Return the URI of a folder in the object store."""
    return f"s3://lake/runs?{options_of(*object_store)}"
