"""Rows of samples with opacity, limits, and the conversion of errors."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from reconpatch.exceptions import ImageError
from reconpatch.imaging.formats.samples import (
    array_rows,
    damage_named,
    require_few_scans,
    require_size,
    silenced,
    transparent_level,
    unsupported,
)

VALUES = np.arange(24, dtype=np.uint8).reshape(4, 6, 1)


def test_rows_of_arrays_and_their_opacity():
    rows, ignored = array_rows(VALUES)
    assert not ignored
    np.testing.assert_array_equal(rows(slice(1, 3))[0], VALUES[1:3])
    assert rows(slice(1, 3))[1] is None
    rows, ignored = array_rows(VALUES, VALUES[:, :, 0], 23)
    assert not ignored
    np.testing.assert_allclose(rows(slice(1, 3))[1], VALUES[1:3] / 23, rtol=1e-6)
    rows, ignored = array_rows(VALUES, np.zeros((4, 6), np.uint16), 65535)
    assert ignored
    assert rows(slice(0, 4))[1] is None


def test_a_transparent_level():
    plain, _ = array_rows(VALUES)
    rows, ignored = transparent_level(plain, 7, 4)
    assert not ignored
    np.testing.assert_array_equal(rows(slice(0, 4))[1], (VALUES != 7).astype(np.float32))
    same, _ = array_rows(np.full((4, 6, 3), 7, np.uint8))
    rows, ignored = transparent_level(same, (7, 7, 7), 4)
    assert ignored
    assert rows(slice(0, 4))[1] is None


def test_limits():
    require_size(20_000, 10_000)
    with pytest.raises(ImageError, match="20000 x 10001 pixels, above the limit of 200 megapixels"):
        require_size(20_000, 10_001)
    with pytest.raises(ImageError, match="0 x 5 pixels; copy or export it again"):
        require_size(0, 5)
    require_few_scans(b"\xff\xda" * 500)
    with pytest.raises(ImageError, match="501 scans, above the limit of 500"):
        require_few_scans(b"\xff\xda" * 501)


def test_errors_of_decoders_are_converted():
    with (
        pytest.raises(
            ImageError, match=r"damaged or truncated and cannot be decoded \(a b\); copy or export it again\."
        ),
        damage_named(),
    ):
        raise ValueError("a\n b")
    for error in (MemoryError("full"), unsupported("a thing")):
        with pytest.raises(type(error)) as raised, damage_named():
            raise error
        assert raised.value is error
    assert str(unsupported("a thing")) == (
        "The image has a thing, which is not supported; save it as 8- or 16-bit PNG or TIFF."
    )


def test_log_messages_are_dropped_inside_only(caplog):
    logger = logging.getLogger("a_library")
    with silenced("a_library"):
        with silenced("a_library"):
            logger.error("one")
        logger.error("two")
    logger.error("three")
    assert [record.message for record in caplog.records] == ["three"]
