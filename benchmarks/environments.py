"""Virtual environments that hold an installed wheel of this project and borrow all of its dependencies."""

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
# All that a build needs, as in cluster/Dockerfile.
BUILD_FILES = ("pyproject.toml", "README.md", "LICENSE", *PACKAGES)


class InstallError(ReconPatchError):
    """An environment could not be made, or a process in it imports other packages than those installed there."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment.

    Attributes:
        root: its folder.
    """

    root: Path

    @property
    def python(self) -> Path:
        return self.root / "bin" / "python"

    @property
    def command(self) -> Path:
        """The console script of an installed wheel."""
        return self.root / "bin" / "reconpatch-run"

    @property
    def site_packages(self) -> Path:
        return self.root / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"

    @property
    def environ(self) -> dict[str, str]:
        """Environment variables for its processes: those of this process, but for where Python finds modules."""
        return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}


def create_environment(root: Path) -> Environment:
    """Create a virtual environment that finds this interpreter's dependencies, but not this project.

    The dependencies of the project are about 7 GB. Instead of downloading them again, a .pth file in the new
    environment names the folders in which the running interpreter has them. They come after the environment's own
    folder in sys.path, and Python reads no .pth files in them. So an editable install of this project, which is such
    a file, has no effect in the new environment.

    Raises:
        InstallError: the new environment finds a package of this project all the same, because the running
            interpreter has it installed as a copy.
    """
    venv.create(root, symlinks=True)
    environment = Environment(root.resolve())
    (environment.site_packages / "dependencies.pth").write_text("\n".join(dependency_folders(sys.path)) + "\n")
    present = [name for name, origin in origins(environment, root).items() if origin is not None]
    if present:
        raise InstallError(
            f"{' and '.join(present)} can be imported in an environment without them: install the running "
            "interpreter's copy of this project as editable (pip install -e)."
        )
    return environment


def dependency_folders(path: Sequence[str]) -> list[str]:
    """Return the entries of a sys.path that hold installed packages."""
    return [entry for entry in path if Path(entry).name in ("site-packages", "dist-packages")]


def origins(environment: Environment, folder: Path) -> dict[str, Path | None]:
    """Return the files from which a process of the environment imports the packages of this project.

    Args:
        environment: the environment.
        folder: working directory of the process.

    Returns:
        Package name -> path of its `__init__.py`; None where the package cannot be found.
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
    """Check that all packages of this project are imported from an environment.

    Args:
        files: package name -> path of its `__init__.py`, as `origins` returns it.
        environment: the environment that must contain them.

    Raises:
        InstallError: a package lies elsewhere or is missing.
    """
    for name in PACKAGES:
        file = files.get(name)
        if file is None or not file.is_relative_to(environment.site_packages):
            raise InstallError(
                f"The environment {environment.root} imports {name} from {file}, not from the wheel installed in it."
            )


def copy_build_files(source: Path, target: Path) -> Path:
    """Copy what a build needs from a source tree and return the copy's folder."""
    target.mkdir(parents=True)
    for name in BUILD_FILES:
        if (source / name).is_dir():
            shutil.copytree(source / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source / name, target / name)
    return target


def build_wheel(source: Path, target: Path) -> Path:
    """Build the wheel of a source tree, which must be a copy: setuptools writes into it.

    Args:
        source: folder with `pyproject.toml`.
        target: folder for the wheel.

    Returns:
        Path of the wheel.

    Raises:
        InstallError: the build failed.
    """
    isolation = ["--no-build-isolation"] if importlib.util.find_spec("setuptools") else []  # else pip downloads it
    _pip("wheel", "--no-deps", *isolation, "--wheel-dir", target, source)
    (wheel,) = target.glob("*.whl")
    return wheel


def install(wheel: Path, environment: Environment, folder: Path) -> None:
    """Install a wheel into an environment and check that its packages are the ones imported there.

    Args:
        wheel: path of the wheel.
        environment: where to install it.
        folder: working directory of the check, outside this repository.

    Raises:
        InstallError: the installation failed, or other packages are imported than those of the wheel.
    """
    # Without --ignore-installed pip takes an editable install among the borrowed dependencies for this one.
    _pip("--python", environment.python, "install", "--no-deps", "--ignore-installed", wheel)
    check_origins(origins(environment, folder), environment)


def _pip(*arguments: str | Path) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise InstallError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-2000:]}")
