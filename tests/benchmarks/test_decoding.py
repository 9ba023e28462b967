"""Tests of the comparison of decoding: the files, the pixels that a process reads, and the row of the table."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.before_and_after import Comparison
from benchmarks.decoding import HEADER, cells, one_turn, require_equal, texture, write_files
from benchmarks.environments import Environment, InstallError
from reconpatch import read_image

NAMES = ["JPEG", "PNG", "TIFF of 16 bits", "TIFF of 16 bits, LZW", "TIFF of 8 bits", "TIFF of 8 bits, LZW"]


def test_the_files_hold_the_texture(tmp_path: Path) -> None:
    assert write_files(tmp_path, side=64) == NAMES
    values = texture(64)
    for name in NAMES:
        step = 0.2 if name == "JPEG" else 0.5 / 65535 if "16 bits" in name else 0.5 / 255
        pixels = read_image((tmp_path / name).read_bytes())
        np.testing.assert_allclose(pixels, values, rtol=0, atol=step + 1e-6)


def test_the_texture_is_smooth_and_noisy() -> None:
    """Neighboring pixels are similar, so that it compresses, and never equal over large parts."""
    values = texture(256)
    steps = np.abs(np.diff(values, axis=1))
    assert values.std() > 5 * steps.mean()
    assert 0.002 < steps.mean() < 0.05


def test_a_process_reports_the_pixels_and_the_time_of_each_file(tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    write_files(files, side=64)
    found = one_turn(Environment(Path(sys.prefix)), "reconpatch", files, seconds=0.0)
    assert list(found) == NAMES
    for name, (seconds, total) in found.items():
        assert 0.0 < seconds < 1.0
        assert total == pytest.approx(float(read_image((files / name).read_bytes()).sum(dtype="float64")))


def test_a_process_that_fails_is_an_error_with_its_output(tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    (files / "empty").touch()
    with pytest.raises(InstallError, match=r"(?s)cannot be decoded with reconpatch: .*The file is empty"):
        one_turn(Environment(Path(sys.prefix)), "reconpatch", files)


def test_versions_that_read_different_pixels_are_not_compared() -> None:
    require_equal({"PNG": 1000.0, "JPEG": 5.0}, {"PNG": 1000.0005, "JPEG": 5.0})
    with pytest.raises(InstallError, match=r"different pixels from PNG\."):
        require_equal({"PNG": 1000.0, "JPEG": 5.0}, {"PNG": 1000.1, "JPEG": 5.0})


def test_a_row_has_images_per_second_and_the_ratio_after_to_before() -> None:
    row = cells(Comparison("PNG", before=0.05, after=0.02, turns=5))
    assert row == ("PNG", "20.0", "50.0", "2.50", "5")
    assert len(row) == len(HEADER)
