"""Small real runs, shared by the tests that read their files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pipelines.runs import Finished, ensemble, make_category


@pytest.fixture(scope="session", autouse=True)
def own_ray_token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Ray keeps an authentication token in the home folder; tests have their own."""
    token = tmp_path_factory.mktemp("ray") / "token"
    token.write_text("0" * 64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
        patch.delenv("RAY_ADDRESS", raising=False)
        yield


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two categories, one with a name that no folder should have, and an unreadable image in each split."""
    root = tmp_path_factory.mktemp("data")
    make_category(root / "cloth", seed=0)
    make_category(root / "a=b x%20y", seed=5000, train=10)
    (root / "cloth" / "train" / "good" / "broken.png").write_bytes(b"")
    whole = (root / "cloth" / "test" / "good" / "000.png").read_bytes()
    (root / "cloth" / "test" / "good" / "cut.png").write_bytes(whole[: len(whole) * 6 // 10])
    return root


@pytest.fixture(scope="session")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Both categories, two members, adapters trained, maps written, one worker."""
    return ensemble(data, tmp_path_factory.mktemp("runs") / "one", "--maps", "--workers", "1")
