"""Virtual environments that contain an installed wheel of this project and share all its dependencies."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import ReconPatchError

PACKAGES = ("pipelines", "reconpatch")
# Files and folders that a build needs, as in cluster/Dockerfile.
BUILD_FILES = ("pyproject.toml", "README.md", "LICENSE", *PACKAGES)


class InstallError(ReconPatchError):
    """Error: an environment cannot be created, or its processes import packages that are not installed in it."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment.

    Attributes:
        root: Folder of the environment.
    """

    root: Path

    @property
    def python(self) -> Path:
        """Python interpreter of the environment."""
        return self.root / "bin" / "python"

    @property
    def command(self) -> Path:
        """Console script of the wheel that is installed in the environment."""
        return self.root / "bin" / "reconpatch-run"

    @property
    def site_packages(self) -> Path:
        """Folder of the packages that are installed in the environment."""
        return self.root / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"

    @property
    def environ(self) -> dict[str, str]:
        """Environment variables of this process, without those that change where Python finds modules."""
        return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}


def create_environment(root: Path) -> Environment:
    """Create a virtual environment that has the dependencies of the running interpreter, but not this project.

    The dependencies take about 7 GB. They are not downloaded again: a .pth file in the new environment names the
    folders in which the running interpreter has installed them. In sys.path these folders follow the environment's
    own one, and Python reads no .pth files in them. An editable installation of this project is such a file, so it has
    no effect in the new environment.

    Args:
        root: Folder of the new environment.

    Raises:
        InstallError: The new environment finds a package of this project, because the project is not installed as
            editable in the running interpreter.
    """
    venv.create(root, symlinks=True)
    environment = Environment(root.resolve())
    (environment.site_packages / "dependencies.pth").write_text("\n".join(dependency_folders(sys.path)) + "\n")
    present = [name for name, origin in origins(environment, root).items() if origin is not None]
    if present:
        raise InstallError(
            f"A new environment can import {' and '.join(present)}, which are not installed in it. Install this "
            "project as editable in the running interpreter (pip install -e)."
        )
    return environment


def dependency_folders(path: Sequence[str]) -> list[str]:
    """Return the entries of a module search path that contain installed packages.

    Args:
        path: Module search path, such as `sys.path`.
    """
    return [entry for entry in path if Path(entry).name in ("site-packages", "dist-packages")]


def origins(environment: Environment, folder: Path) -> dict[str, Path | None]:
    """Return the files from which a process of an environment imports the packages of this project.

    Args:
        environment: Environment of the process.
        folder: Working directory of the process.

    Returns:
        Package name -> path of its `__init__.py`; None if the package is not found.
    """
    program = (
        "import importlib.util, json; "
        f"specs = {{name: importlib.util.find_spec(name) for name in {PACKAGES}}}; "
        "print(json.dumps({name: spec and spec.origin for name, spec in specs.items()}))"
    )
    command = [str(environment.python), "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder, env=environment.environ)
    files: dict[str, str | None] = json.loads(done.stdout)
    return {name: None if file is None else Path(file) for name, file in files.items()}


def check_origins(files: Mapping[str, Path | None], environment: Environment) -> None:
    """Raise InstallError unless all packages of this project are imported from an environment.

    Args:
        files: Package name -> path of its `__init__.py`, as `origins` returns it.
        environment: Environment that must contain the files.

    Raises:
        InstallError: A package is outside the environment or missing.
    """
    for name in PACKAGES:
        file = files.get(name)
        if file is None or not file.is_relative_to(environment.site_packages):
            raise InstallError(
                f"The environment {environment.root} imports {name} from {file}, not from the wheel installed in it."
            )


def copy_build_files(source: Path, target: Path) -> Path:
    """Copy the files that a build needs from a source tree.

    Args:
        source: Folder with `pyproject.toml`.
        target: New folder for the copy.

    Returns:
        `target`.
    """
    target.mkdir(parents=True)
    for name in BUILD_FILES:
        if (source / name).is_dir():
            shutil.copytree(source / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source / name, target / name)
    return target


def build_wheel(source: Path, target: Path) -> Path:
    """Build the wheel of a source tree.

    Args:
        source: Folder with `pyproject.toml`. It must be a copy, because setuptools writes into it.
        target: Folder for the wheel.

    Returns:
        Path of the wheel.

    Raises:
        InstallError: The build failed.
    """
    isolation = ["--no-build-isolation"] if importlib.util.find_spec("setuptools") else []  # saves a download
    _pip("wheel", "--no-deps", *isolation, "--wheel-dir", target, source)
    (wheel,) = target.glob("*.whl")
    return wheel


def install(wheel: Path, environment: Environment, folder: Path) -> None:
    """Install a wheel into an environment and check that its packages are the ones imported there.

    Args:
        wheel: Path of the wheel.
        environment: Environment into which the wheel is installed.
        folder: Working directory of the check, outside this repository.

    Raises:
        InstallError: The installation failed, or packages are imported that are not those of the wheel.
    """
    # Without --ignore-installed, pip finds an editable installation among the shared dependencies and installs nothing.
    _pip("--python", environment.python, "install", "--no-deps", "--ignore-installed", wheel)
    check_origins(origins(environment, folder), environment)


def _pip(*arguments: str | Path) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise InstallError(f"{' '.join(command)} failed with exit code {done.returncode}: {done.stderr[-2000:]}")
