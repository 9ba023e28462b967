"""Strips and tiles that are missing, damaged, or inflate far beyond their size."""

from __future__ import annotations

import io
import lzma
import resource
import struct
import subprocess
import sys
import time
import tracemalloc
import zlib
from contextlib import suppress

import imagecodecs
import numpy as np
import pytest
import tifffile

from reconpatch.exceptions import ImageError
from reconpatch.imaging.formats.tiff_segments import is_decoded
from reconpatch.imaging.images import read_picture
from tests.reconpatch.picture_files import noise, tiff_of

BOMB = bytes(200_000_000)
SIDE = 16


@pytest.mark.parametrize(
    ("compression", "compress"),
    [
        (8, zlib.compress),
        (32946, zlib.compress),
        (34925, lambda data: lzma.compress(data, preset=0)),
        (50000, imagecodecs.zstd_encode),
        (5, lambda data: imagecodecs.lzw_encode(data[:2_000_000])),
        (32773, lambda data: b"\x81\0" * (len(data) // 128)),
    ],
)
def test_data_that_inflate_far_beyond_a_strip_need_no_memory(compression, compress):
    data = tiff_of(compress(BOMB), SIDE, SIDE, tags={259: compression})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    with suppress(ImageError):  # some decoders stop at the end of the strip, and others name the excess
        assert (read_picture(data).pixels == 0).all()
    assert time.process_time() - start < 1.0
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60_000  # kB


def test_a_dictionary_of_gigabytes_is_not_allocated():
    filters = [
        {"id": lzma.FILTER_LZMA2, "dict_size": 1 << 30, "mode": lzma.MODE_FAST, "mf": lzma.MF_HC3, "nice_len": 8}
    ]
    body = bytearray(lzma.compress(bytes(SIDE * SIDE), filters=[{"id": lzma.FILTER_LZMA2, "preset": 0}]))
    assert filters[0]["dict_size"] > 1 << 28
    place = body.index(b"\x21\x01") + 2
    body[place] = 38  # a dictionary of 1 GiB
    header = bytes(body[12 : 12 + 4 * (body[12] + 1) - 4])
    body[12 + len(header) : 16 + len(header)] = struct.pack("<I", zlib.crc32(header))
    with pytest.raises(ImageError, match="damaged or truncated"):
        read_picture(tiff_of(bytes(body), SIDE, SIDE, tags={259: 34925}))


def test_an_image_inside_of_a_strip_that_is_larger_than_the_strip_is_not_decoded():
    large = noise(3000, 3000)
    for compression, body in (
        (7, imagecodecs.jpeg8_encode(large)),
        (34712, imagecodecs.jpeg2k_encode(large, codecformat="j2k")),
        (50002, imagecodecs.jpegxl_encode(large)),
    ):
        data = tiff_of(body, SIDE, SIDE, tags={259: compression})
        tracemalloc.start()
        with pytest.raises(ImageError, match="an image of 3000 x 3000 pixels in a strip or tile of 16 x 16"):
            read_picture(data)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 30_000_000


def test_a_tag_of_a_million_values_is_refused_before_it_is_read():
    count = 20_000_000
    data = bytearray(tiff_of(bytes(4 * count), SIDE, SIDE))
    place = data.index(struct.pack("<HHI", 273, 4, 1))
    data[place + 4 : place + 12] = struct.pack("<II", count, len(data) - 4 * count)
    tracemalloc.start()
    with pytest.raises(ImageError, match="a TIFF tag of 20000000 values, which is not supported"):
        read_picture(bytes(data))
    assert tracemalloc.get_traced_memory()[1] < 1.5 * len(data)
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("compression", "tags"),
    [(1, {279: 0}), (1, {273: 0}), (1, {278: 4}), (8, {279: 0}), (8, {273: 0}), (8, {279: 10**6}), (8, {278: 4})],
)
def test_missing_strips_are_never_filled_up(compression, tags):
    body = noise(SIDE, SIDE).tobytes()
    data = tiff_of(zlib.compress(body) if compression == 8 else body, SIDE, SIDE, tags={259: compression, **tags})
    if 273 in tags:
        place = data.index(struct.pack("<HHI", 273, 4, 1)) + 8
        data = data[:place] + bytes(4) + data[place + 4 :]
    with pytest.raises(ImageError, match="damaged or truncated"):
        read_picture(data)


@pytest.mark.parametrize("compression", [8, 5, 50000])
def test_a_last_strip_that_is_filled_up_is_read(compression):
    """Some writers store all rows of a strip that ends below the image."""
    rows = noise(2 * 12, SIDE)
    parts = [rows[:12].tobytes(), rows[12:].tobytes()]
    codec = {8: zlib.compress, 5: imagecodecs.lzw_encode, 50000: imagecodecs.zstd_encode}[compression]
    parts = [codec(part) for part in parts]
    data = io.BytesIO()
    tifffile.imwrite(
        data,
        iter([bytes(part) for part in parts]),
        shape=(20, SIDE),
        dtype=np.uint8,
        rowsperstrip=12,
        compression={8: "deflate", 5: "lzw", 50000: "zstd"}[compression],
        photometric="minisblack",
    )
    np.testing.assert_array_equal(read_picture(data.getvalue()).pixels[:, :, 0], rows[:20] / np.float32(255))


def test_bits_of_each_byte_in_the_other_order():
    values = noise(SIDE, SIDE)
    turned = np.packbits(np.unpackbits(values, axis=1).reshape(SIDE, SIDE, 8)[:, :, ::-1], axis=2)
    data = tiff_of(turned.tobytes(), SIDE, SIDE, tags={266: 2})
    np.testing.assert_array_equal(read_picture(data).pixels[:, :, 0], values / np.float32(255))


def test_supported_compressions():
    assert all(is_decoded(code) for code in (1, 2, 3, 4, 5, 7, 8, 32773, 32946, 34712, 34925, 50000, 50001, 50002))
    assert not any(is_decoded(code) for code in (0, 6, 9, 32766, 32771, 32809, 34887))


SILENT = """
import sys, warnings, random, pickle
from reconpatch.imaging.images import read_mask, read_picture
from reconpatch.exceptions import ImageError
files = pickle.load(sys.stdin.buffer)
random = random.Random(0)
for data in files:
    for _ in range(25):
        broken = bytearray(data)
        for _ in range(random.randint(1, 3)):
            broken[random.randrange(len(broken))] ^= 1 << random.randrange(8)
        for content in (bytes(broken), data[: random.randrange(len(data))]):
            for read in (read_picture, read_mask):
                try:
                    read(content)
                except ImageError:
                    pass
"""


def test_no_decoder_prints_or_warns(tmp_path):
    import pickle

    from PIL import Image

    from tests.reconpatch.picture_files import encode

    color, deep = noise(19, 23, 3), noise(19, 23, 3).astype(np.uint16) * 257
    picture = Image.fromarray(color)
    files = [encode(picture, name) for name in ("PNG", "JPEG", "BMP", "WEBP", "GIF", "TGA", "AVIF", "JPEG2000", "TIFF")]
    for compression in (None, "lzw", "deflate", "jpeg", "webp", "jpegxl", "jpeg2000", "zstd", "packbits"):
        data = io.BytesIO()
        tifffile.imwrite(data, color, photometric="rgb", compression=compression)
        files.append(data.getvalue())
    files += [encode(Image.fromarray(color[:, :, 0] > 99), "TIFF-G4", compression="group4")]
    files += [imagecodecs.png_encode(deep), imagecodecs.jpeg8_encode(deep >> 4, bitspersample=12)]
    files += [imagecodecs.jpeg2k_encode(deep), imagecodecs.jpegxl_encode(deep), imagecodecs.jpegls_encode(deep)]
    files += [imagecodecs.avif_encode(deep >> 6, bitspersample=10)]
    run = subprocess.run(
        [sys.executable, "-c", SILENT], input=pickle.dumps(files), capture_output=True, timeout=300, check=False
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, b"", b"")
