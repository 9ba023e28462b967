"""What every test of the pipelines starts from: a Ray of its own and an object store on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow.fs as pafs
import pytest
from hypothesis import settings
from moto.server import ThreadedMotoServer

from tests.object_stores import options_of

# How long an example takes says more of the machine, and of what it has not loaded yet, than of what is tested.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


# What is learned once and shared by the tests that read it, a process each: a night here, a run in the other modules.
_NIGHTS = {
    "tests/pipelines/data/test_layouts.py",
    "tests/pipelines/nightly/test_run.py",
    "tests/pipelines/test_docs.py",
    "tests/pipelines/test_hostile_files.py",
    "tests/pipelines/test_night_images.py",
    "tests/pipelines/test_object_store.py",
}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Where tests run in two processes (`make test`), each has a Ray: those that share a run stay in one, those that
    share a night in the other; of those without Ray, a module does."""
    from xdist.scheduler import LoadScopeScheduling

    class SharedTogether(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            module = nodeid.partition("::")[0]
            if module.split("/")[1] not in ("pipelines", "faults"):
                return module
            return "nights" if module in _NIGHTS else "runs"

    return SharedTogether(config, log)


@pytest.fixture(scope="session", autouse=True)
def own_ray_token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Ray keeps an authentication token in the home folder; tests have their own."""
    token = tmp_path_factory.mktemp("ray") / "token"
    token.write_text("0" * 64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
        patch.delenv("RAY_ADDRESS", raising=False)
        # For the object store on loopback; Ray's workers have the environment that Ray was started with.
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield


@pytest.fixture(scope="session")
def object_store() -> Iterator[tuple[str, int]]:
    """An object store on loopback, moto's S3 server with a bucket `lake`: its host and port."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    filesystem, _ = pafs.FileSystem.from_uri(f"s3://anything?{options_of(host, port)}&allow_bucket_creation=true")
    filesystem.create_dir("lake")
    yield host, port
    server.stop()


@pytest.fixture(scope="session")
def bucket(object_store: tuple[str, int]) -> str:
    """The URI of a folder in it."""
    return f"s3://lake/runs?{options_of(*object_store)}"
