"""Small real runs, shared by the tests that read their files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow.fs as pafs
import pytest
from moto.server import ThreadedMotoServer

from tests.pipelines.runs import SCRIPT, Finished, call_alone, ensemble_options, make_category


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
def bucket() -> Iterator[str]:
    """An object store on loopback: moto's S3 server, and the URI of a bucket in it."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    where = f"endpoint_override={host}%3A{port}&scheme=http&region=us-east-1"
    filesystem, _ = pafs.FileSystem.from_uri(f"s3://anything?{where}&allow_bucket_creation=true")
    filesystem.create_dir("lake")
    yield f"s3://lake/runs?{where}"
    server.stop()


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two categories, one with a name that no folder should have, an image with a name that no page should run, and an
    unreadable image in each split."""
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
    """Both categories, two members, adapters trained, maps and report written, one worker."""
    options = ensemble_options(data, tmp_path_factory.mktemp("runs") / "one", "--maps", "--workers", "1", "--report")
    return call_alone(*options)
