"""Netpbm files: raw and plain, with any largest value, and with opacity."""

from __future__ import annotations

import numpy as np
import pytest

from reconpatch.exceptions import ImageError
from reconpatch.imaging.decoding import stored_values
from reconpatch.imaging.formats.netpbm import read_netpbm
from reconpatch.imaging.images import read_picture

RNG = np.random.default_rng(3)


def raw(values: np.ndarray, full: int) -> bytes:
    """Return the packed values of a raw file."""
    return values.astype(">u2" if full > 255 else np.uint8).tobytes()


@pytest.mark.parametrize("full", [1, 15, 100, 255, 256, 1000, 1023, 4095, 16383, 65535])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("plain", [False, True])
def test_values_are_divided_by_the_largest_value_of_the_header(full, channels, plain):
    values = RNG.integers(0, full + 1, (7, 9, channels))
    kind = {(1, False): 5, (3, False): 6, (1, True): 2, (3, True): 3}[channels, plain]
    body = " ".join(map(str, values.ravel())).encode() if plain else raw(values, full)
    found = read_picture(f"P{kind}\n# made by hand\n9 7\n{full}\n".encode() + body)
    np.testing.assert_allclose(found.pixels, np.broadcast_to(values / full, (7, 9, 3)), atol=1e-7)
    assert (found.bits, found.channels) == (full.bit_length(), channels)


def test_1_is_black_in_a_bitmap():
    black = RNG.integers(0, 2, (5, 11)).astype(np.uint8)
    packed = b"P4 11 5\n" + np.packbits(black, axis=1).tobytes()
    plain = b"P1\n11 5\n# rows\n" + "\n".join("".join(map(str, row)) for row in black).encode()
    for data in (packed, plain):
        np.testing.assert_array_equal(read_picture(data).pixels[:, :, 0], 1 - black)


@pytest.mark.parametrize("full", [255, 65535])
def test_pam_with_opacity(full):
    for channels, name in ((2, "GRAYSCALE_ALPHA"), (4, "RGB_ALPHA")):
        values = RNG.integers(0, full + 1, (3, 4, channels))
        header = f"P7\nWIDTH 4\nHEIGHT 3\nDEPTH {channels}\nMAXVAL {full}\nTUPLTYPE {name}\nENDHDR\n".encode()
        color, opacity = values[:, :, :-1] / full, values[:, :, -1:] / full
        found = read_picture(header + raw(values, full))
        np.testing.assert_allclose(found.pixels, np.broadcast_to(color * opacity + 1 - opacity, (3, 4, 3)), atol=1e-6)
        values[:, :, -1] = 0
        found = read_picture(header + raw(values, full))
        assert found.alpha_ignored
        np.testing.assert_allclose(found.pixels, np.broadcast_to(color, (3, 4, 3)), atol=1e-7)


def test_a_bit_depth_below_the_largest_value_is_the_divisor():
    data = b"P5 3 1 65535\n" + raw(np.array([0, 1, 4095]), 65535)
    np.testing.assert_allclose(read_picture(data, 12).pixels[0, :, 0], [0, 1 / 4095, 1], rtol=1e-6)
    np.testing.assert_allclose(read_picture(b"P5 3 1 1000\n" + raw(np.array([0, 1, 1000]), 1000), 12).pixels[0, 2], 1)


def test_images_after_the_first_are_counted():
    one = b"P5 3 1 255\n\x00\x10\x20"
    other = b"P6\n1 1 65535\n\x00\x01\x00\x02\x00\x03"
    for data, frames in ((one, 1), (one + other, 2), (one + other + b"P4 9 2\n1234", 3), (one + b"P5 9", 1)):
        found = read_netpbm(data)
        assert found.frames == frames
        np.testing.assert_array_equal(found.rows(slice(0, 1))[0][0, :, 0], [0, 16, 32])


def test_stored_values_are_not_scaled():
    values = np.array([[0, 500, 1000]])
    stored = stored_values(b"P5 3 1 1000\n" + raw(values, 1000))
    np.testing.assert_array_equal(stored.values[:, :, 0], values)
    assert (stored.kind, stored.bits, stored.lossy) == ("gray", 10, False)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"P5 3 2 255\n12345", "damaged or truncated"),
        (b"P5 3", "truncated header"),
        (b"P2 3 1 255\n1 2", "2 of 3 values"),
        (b"P2 3 1 255\n1 2 x", "damaged or truncated"),
        (b"P1 3 1\n012", "not 0 and 1"),
        (b"P5 2 1 100\n\x00\x65", "the value 101 is above the largest value 100"),
        (b"P5 2 1 65536\n0000", "the largest value 65536, which is not supported; save it with one of 1 to 65535."),
        (b"P6 20000 10001 255\n", "20000 x 10001 pixels, above the limit of 200 megapixels"),
        (b"P6 99999999999999999999 1 255\n", "above the limit"),
        (b"P5 0 1 255\n", "0 x 1 pixels"),
        (b"P7\nWIDTH 2\nHEIGHT 1\nDEPTH 5\nMAXVAL 255\nENDHDR\n0123456789", "5 channels of the kind ''"),
        (b"P7\nWIDTH 2\nHEIGHT 1\n", "truncated header"),
    ],
)
def test_faults_are_named(data, message):
    with pytest.raises(ImageError) as refused:
        read_picture(data)
    assert message in str(refused.value)
