"""Removal of partial files of killed processes at the start and at the end of a lease."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipelines.storage.cleanup import remove_partial_files
from pipelines.storage.lease import leased
from pipelines.storage.store import Store


def killed_while_writing(store: Store, name: str) -> None:
    """Leave the partial file of a process that is killed after writing a file and before renaming it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", lambda aside, path: os._exit(9))
        if (pid := os.fork()) == 0:
            store.write(name, b"whole")
            os._exit(0)
    assert os.waitpid(pid, 0)[1] >> 8 == 9


def files_in(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a fork of itself")
def test_a_lease_removes_partial_files_at_its_start_and_end(tmp_path: Path) -> None:
    out = Store.of(str(tmp_path / "run"))
    for name in ("run.json", "models/cloth/model.json", "report/index.html"):
        out.write(name, b"{}")
        killed_while_writing(out, name)
    whole = ["models/cloth/model.json", "report/index.html", "run.json"]
    (in_a_report,) = (path for path in (tmp_path / "run" / "report").iterdir() if path.name != "index.html")
    kept = f"report/{in_a_report.name}"  # the command `report` takes no lease and may still write this file
    assert len(files_in(tmp_path / "run")) == 6
    with leased(out):
        assert files_in(tmp_path / "run") == sorted([*whole, "lease.json", kept])
        killed_while_writing(out, "models/cloth/model.json")
        assert len(files_in(tmp_path / "run")) == 6
    assert files_in(tmp_path / "run") == sorted([*whole, kept])


def test_other_hidden_files_are_kept(tmp_path: Path) -> None:
    for name in (".part", ".notes.part", "a.part", ".nfs000000001234", ".model.json.ABCDEFGH.part", "model.json"):
        (tmp_path / name).touch()
    before = files_in(tmp_path)
    remove_partial_files(Store.of(str(tmp_path)))
    assert files_in(tmp_path) == before
