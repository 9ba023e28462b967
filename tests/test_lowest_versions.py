"""The lower bounds of the dependencies in pyproject.toml hold: with exactly these versions, everything works.

uv installs the lowest version of each direct dependency into a new environment, without the project's source tree.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.environments import Environment, copy_build_files
from tests.pipelines.runs import BACKBONES, make_category

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow

IMPORT_ALL = """
import importlib, pkgutil, pipelines, reconpatch
names = [module.name for package in (pipelines, reconpatch)
         for module in pkgutil.walk_packages(package.__path__, package.__name__ + ".")]
for name in names:
    importlib.import_module(name)
print(len(names))
"""


def run(*command: str | Path, cwd: Path, environment: Environment) -> str:
    """Run a command to its end; it must succeed. Return what it printed."""
    done = subprocess.run(command, cwd=cwd, env=environment.environ, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module", params=["demo,figures", "demo,export,figures"])
def lowest(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Environment, str]:
    """Return an environment with the lowest versions, and the extras that are installed in it."""
    folder = tmp_path_factory.mktemp("lowest")
    environment = Environment(folder / "environment")
    source = copy_build_files(ROOT, folder / "source")
    uv = [sys.executable, "-m", "uv"]
    run(*uv, "venv", "--python", sys.executable, environment.root, cwd=folder, environment=environment)
    target = ["--python", environment.python, "--resolution", "lowest-direct"]
    run(*uv, "pip", "install", *target, f"{source}[{request.param}]", cwd=folder, environment=environment)
    return environment, request.param


def test_every_module_can_be_imported(lowest: tuple[Environment, str], tmp_path: Path) -> None:
    modules = sum(path.stem != "__init__" for package in ("pipelines", "reconpatch") for path in package_files(package))
    printed = run(lowest[0].python, "-c", IMPORT_ALL, cwd=tmp_path, environment=lowest[0])
    assert int(printed.splitlines()[-1]) >= modules


def package_files(package: str) -> list[Path]:
    """Return the modules of a package in the source tree."""
    return list((ROOT / package).rglob("*.py"))


def test_a_small_job_runs(lowest: tuple[Environment, str], tmp_path: Path) -> None:
    environment, extras = lowest
    make_category(tmp_path / "data" / "cloth", seed=0, train=14, good=3, defects=3)
    members = [word for name in BACKBONES for word in ("--backbone", name)]
    settings = ["--image-size", "96", "--epochs", "1", "--maps", "--workers", "1"]
    run(
        environment.command,
        "ensemble",
        "--data",
        "data",
        "--out",
        "run",
        *members,
        *settings,
        cwd=tmp_path,
        environment=environment,
    )
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    assert info["status"] == "complete"
    assert (tmp_path / "run" / "report" / "index.html").is_file()
    score = ["--images", "data/cloth/test/good", "--category", "cloth", "--out", "new"]
    run(environment.command, "score", "--model", "run", *score, cwd=tmp_path, environment=environment)
    if "export" in extras:
        target = ["--category", "cloth", "--out", "cloth.onnx"]
        run(environment.command, "export", "--model", "run", *target, cwd=tmp_path, environment=environment)
        assert (tmp_path / "cloth.onnx").stat().st_size > 1_000_000
    else:
        run(environment.command, "report", "--run", "run", "--figures", "png", cwd=tmp_path, environment=environment)
        assert list((tmp_path / "run" / "report" / "figures").glob("*.png"))
